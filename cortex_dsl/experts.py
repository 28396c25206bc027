"""Names with arguments to scaffold configs: tokens, runs of tokens, constructors, wraps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from . import ast
from .constructors import Constructors
from .diagnostics import Fix
from .limits import MAX_EXPERTS, MAX_NESTING
from .options import Complaints, settable, with_options
from .parser import UNREADABLE
from .registry import Registry, axonified, expert_of_core, split_run
from .spans import Span
from .spec.base import Node, kinds, marked, option_names, updated
from .spec.cells import inner_scaffold, with_inner
from .spec.scaffolds import ColumnScaffoldConfig, RouterConfig
from .spec.stack import CortexStackConfig
from .suggest import closest

# Lowers `stack(...)` as a core; the stack lowers its layers by `Experts` again, so it is passed in.
StackForm = Callable[[ast.Cell], CortexStackConfig | None]

FORMS = ("column", "layer", "stack", "tissue_layer")


@dataclass(frozen=True)
class Definition:
    """A name that the text gave."""

    what: Literal["cell", "stack", "tissue"]
    value: Any
    span: Span


class Experts:
    """Lowers cells. Definitions made so far take part in names."""

    def __init__(self, registry: Registry, complaints: Complaints, stack_form: StackForm) -> None:
        self.registry = registry
        self.complaints = complaints
        self.constructors = Constructors(self, complaints)
        self.definitions: dict[str, Definition] = {}
        self.broken: set[str] = set()
        self.stack_form = stack_form
        self._plain: dict[str, Node] = {}
        self._splittable: tuple[tuple[int, int], frozenset[str]] = ((-1, -1), frozenset())

    # -- columns -----------------------------------------------------------------------------------------------

    def column(self, tree: ast.Column) -> Node | None:
        """The layer that a column stands for; None when it could not be read."""
        if len(tree.cells) == 1 and tree.cells[0].name == "layer" and tree.cells[0].args is not None:
            return self._bare_layer(tree.cells[0])
        if any(c.name == UNREADABLE and c.span.text[:1] != UNREADABLE for c in tree.cells):
            return None
        experts = [e for cell in tree.cells for e in self.cell(cell)]
        self._check_spacing(tree)
        if not experts:
            return None
        if len(experts) > MAX_EXPERTS:
            self.complaints.add("E604", f"a column of {len(experts)} experts; the limit is {MAX_EXPERTS}", tree.span)
            return None
        column = ColumnScaffoldConfig(experts=tuple(experts))
        return marked(self.routed(column, tree.router or (), "{...}"), span=tree.span)

    def routed(self, column: ColumnScaffoldConfig, opts: tuple[ast.Opt, ...], owner: str) -> ColumnScaffoldConfig:
        """A column with the options of its router, and its own."""
        own = [o for o in opts if o.name == "alpha_init"]
        column = with_options(column, own, owner, self.complaints)
        routing = [o for o in opts if o.name != "alpha_init"]
        if routing:
            column = updated(column, router=with_options(RouterConfig(), routing, owner, self.complaints))
        return column

    def _bare_layer(self, cell: ast.Cell) -> Node | None:
        inside = (cell.args or (None,))[0]
        if cell.wraps or cell.copies != 1 or len(cell.args or ()) != 1 or not isinstance(inside, ast.Cell):
            help_ = "put wraps inside: `layer(M@postup)`"
            self.complaints.add("E305", "`layer(...)` takes one expert", cell.span, "one expert", help=help_)
            return None
        experts = self.cell(inside)
        if len(experts) > 1:
            self.complaints.add("E305", "`layer(...)` takes one expert", inside.span, f"{len(experts)} experts")
            return None
        return experts[0] if experts else None

    def _check_spacing(self, tree: ast.Column) -> None:
        """`AXMS AM^S` is one column to the grammar and two layers to the eye: never guess."""
        if len(tree.cells) == 1:
            return
        sized = [(cell, len(self._run(cell.name) or ())) for cell in tree.cells]
        for (left, a), (right, b) in pairwise(sized):
            gap = Span(tree.span.source, left.span.end, right.span.start)
            if max(a, b) < 2 or not gap.text or gap.text.strip():
                continue
            fix = Fix(gap, " / ")
            text = f"{left.span.text} / {right.span.text}"
            comma = f"{left.span.text}, {right.span.text}"
            if min(a, b) >= 2:
                message = "a space does not separate layers"
                help_ = f"separate layers with `/`: `{text}`; for one column write a comma: `{comma}`"
                self.complaints.add("E203", message, gap, "two layers, or one column?", help=help_, fix=fix)
            else:
                message = "this reads as one column of experts"
                help_ = f"for two layers write `{text}`; for one column write `{comma}`"
                self.complaints.add("W702", message, gap, "a space does not separate layers", help=help_, fix=fix)

    # -- names -------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Every name that an expert may have."""
        return [*self.registry.names(), *self.definitions, *kinds("core"), *kinds("scaffold"), *FORMS]

    def _cell_names(self) -> frozenset[str]:
        # Asked for at every cell, changed by definitions and imports only.
        key = (len(self.definitions), len(self.registry.names()))
        if self._splittable[0] != key:
            cells = [n for n, d in self.definitions.items() if d.what == "cell"]
            self._splittable = (key, self.registry.splittable() | set(cells) | {n + "^" for n in cells})
        return self._splittable[1]

    def _run(self, name: str) -> tuple[str, ...] | None:
        """The names a word stands for: itself, or the run it is cut into."""
        if name in self.definitions or name in kinds("core") or name in kinds("scaffold") or name in FORMS:
            return (name,)
        return split_run(name, self._cell_names())

    def _named(self, name: str, span: Span) -> Node | None:
        """The expert for one token or definition."""
        definition = self.definitions.get(name) or self.definitions.get(name.removesuffix("^"))
        if definition is not None and definition.what == "cell":
            if name in self.definitions:
                return marked(definition.value, token=name)
            expert, changed = axonified(definition.value, name)
        elif name in self._plain:
            return self._plain[name]
        elif found := self.registry.find(name):
            expert, changed = found
        else:
            return None
        if not changed:
            note = ("the caret turns on Axon projections; this core has none",)
            fix = Fix(span, name.removesuffix("^"))
            message = f"`{name}` has no Axon variant; it is the same as `{name.removesuffix('^')}`"
            self.complaints.add(
                "W701", message, span, "the caret does nothing", notes=note, help="drop the `^`", fix=fix
            )
        else:
            self._plain[name] = expert
        return marked(expert, token=name)

    # -- cells -------------------------------------------------------------------------------------------------

    def cell(self, tree: ast.Cell) -> list[Node]:
        """The experts of one cell: a run may be several, and so may copies. Empty after a complaint."""
        if tree.copies < 1:
            fix = Fix(tree.copies_span, "*1") if tree.copies_span else None
            self.complaints.add(
                "E204",
                "copies count from 1",
                tree.copies_span,
                "expected 1 or more",
                help="write `*1` or leave it out",
                fix=fix,
            )
            return []
        if len(tree.wraps) > MAX_NESTING:
            self.complaints.add("E602", f"more than {MAX_NESTING} wraps around one expert", tree.span, "too deep")
            return []
        if tree.copies > MAX_EXPERTS:
            message = f"{tree.copies} copies in one column; the limit is {MAX_EXPERTS}"
            self.complaints.add("E604", message, tree.copies_span, "too many")
            return []
        if tree.name.removesuffix("^") in self.broken:
            return []  # its definition has its own complaint
        if tree.name in self.definitions and self.definitions[tree.name].what != "cell":
            what = self.definitions[tree.name].what
            message = f"`{tree.name}` is a {what}, not an expert"
            help_ = f"use it as a layer of its own, or as a core: `passthrough({tree.name})`"
            self.complaints.add("E207", message, tree.name_span, f"defined as a {what}", help=help_)
            return []
        if (kind := kinds("scaffold").get(tree.name)) or tree.name in FORMS:
            last = self.constructors.constructed(kind, tree)
            first: list[Node] = []
        elif tree.name in kinds("core"):
            core = self.core_named(tree.name, tree)
            first, last = [], core and marked(expert_of_core(core))
        else:
            pieces = self._run(tree.name)
            if pieces is None:
                self._unknown(tree)
                return []
            first, last = self._run_experts(pieces, tree)
        if last is None:
            return []
        for wrap in tree.wraps:
            last = self.constructors.wrapped(last, wrap)
        last = marked(last, span=tree.span) if not first else last
        return [*first, *([last] * tree.copies)]

    def _unknown(self, tree: ast.Cell) -> None:
        """Complain about a name at the place where no token starts, with the nearest known one."""
        name, source, start = tree.name, tree.name_span.source, tree.name_span.start
        known = self._cell_names()
        begin = next(i for i in range(len(name), -1, -1) if split_run(name[:i], known) is not None)
        end = next((j for j in range(begin + 1, len(name)) if split_run(name[j:], known)), len(name))
        if name[begin] == "^":  # a caret too many belongs to the token before it
            end = begin + 1
        span = Span(source, start + begin, start + end)
        piece = name[begin:end]
        fix, help_ = None, f'define it with `let {piece} = ...`, or register it with `@register_token("{piece}")`'
        if near := closest(name, [n for n in self.names() if len(n) > 2]):
            span, piece, fix = tree.name_span, name, Fix(tree.name_span, near)
        elif near := closest(piece, [n for n in self.names() if len(n) <= 2]):
            fix = Fix(span, near)
        elif piece == "^":
            near, fix = "", Fix(span, "")
            help_ = "one `^` is enough" if begin else "put `^` after a token"
        if near:
            help_ = f"did you mean `{near}`?"
        notes = [f"known tokens: {' '.join(self.registry.names())}"]
        if self.definitions:
            notes.append(f"defined so far: {' '.join(self.definitions)}")
        label = "no token, definition or registered name starts here"
        self.complaints.add(
            "E201", f"unknown expert token `{piece}`", span, label, notes=tuple(notes), help=help_, fix=fix
        )

    def _run_experts(self, pieces: tuple[str, ...], tree: ast.Cell) -> tuple[list[Node], Node | None]:
        experts: list[Node] = []
        at = tree.name_span.start
        for i, piece in enumerate(pieces):
            end = at + len(piece)
            # Arguments belong to the last token of a run.
            whole = Span(tree.span.source, at, tree.span.end if i == len(pieces) - 1 else end)
            expert = self._named(piece, Span(tree.span.source, at, end))
            if expert is not None:
                experts.append(marked(expert, span=whole))
            at = end
        if len(experts) != len(pieces):
            return [], None
        *first, last = experts
        return first, self._with_args(last, tree, pieces[-1])

    def _with_args(self, expert: Node, tree: ast.Cell, name: str) -> Node:
        opts = self._options_only(tree, name)
        if not opts:
            return expert
        inner = inner_scaffold(expert)
        core = getattr(inner, "core", None)
        if core is None:
            return with_options(expert, opts, name, self.complaints)
        elsewhere = ""
        kind = inner.kind
        for opt in opts:
            if opt.name in settable(type(inner)) and opt.name not in option_names(type(core)):
                elsewhere = f"`{opt.name}` belongs to the scaffold: `{name}@{kind}({opt.span.text})`"
        core = with_options(core, opts, name, self.complaints, elsewhere)
        return with_inner(expert, lambda scaffold: updated(scaffold, core=core))

    def _options_only(self, tree: ast.Cell, name: str) -> list[ast.Opt]:
        opts = []
        for arg in tree.args or ():
            if isinstance(arg, ast.Opt):
                opts.append(arg)
            else:
                message = f"`{name}` takes options by name"
                self.complaints.add("E304", message, arg.span, "no name", help=f"write `{name}(name={arg.span.text})`")
        return opts

    def core_named(self, name: str, tree: ast.Cell) -> Node | None:
        """A core in constructor form: `mlstm(num_heads=8)`."""
        try:
            core = kinds("core")[name]()
        except ValueError as error:
            self.complaints.add("E302", f"`{name}` needs options: {error}", tree.span)
            return None
        return with_options(core, self._options_only(tree, name), name, self.complaints)

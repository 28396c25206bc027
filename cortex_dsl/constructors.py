"""Scaffolds by name: `preup(mlstm(num_heads=8), proj_factor=1.5)`, `column(A, X)`, `M@adapter(bottleneck=32)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import ast
from .diagnostics import Fix
from .lower_tissue import tissue_form
from .options import Complaints, settable, unique, with_options
from .spec.base import Node, Option, kinds, marked
from .spec.cells import inner_scaffold, with_core
from .spec.scaffolds import ColumnScaffoldConfig
from .spec.tissue import TissueScaffoldConfig
from .suggest import closest, listed

if TYPE_CHECKING:
    from .experts import Experts


class Constructors:
    """Makes scaffolds for `Experts`, which lowers the parts inside."""

    def __init__(self, experts: Experts, complaints: Complaints) -> None:
        self.experts = experts
        self.complaints = complaints

    def constructed(self, kind: type[Node] | None, tree: ast.Cell) -> Node | None:
        """`preup(mlstm, ...)`, `adapter(M)`, `column(A, X)`: a scaffold by its name."""
        if tree.name == "layer" or tree.name == "stack":
            help_ = (
                "a layer must stand alone"
                if tree.name == "layer"
                else f"put it in a scaffold: `passthrough({tree.span.text[:60]})`"
            )
            self.complaints.add("E207", f"`{tree.name}(...)` is not an expert", tree.name_span, "not here", help=help_)
            return None
        if kind is ColumnScaffoldConfig:
            cells = [a for a in tree.args or () if isinstance(a, ast.Cell)]
            made = [self.experts.cell(c) for c in cells]
            if not all(made):
                return None  # a part has its own complaint
            experts = tuple(e for part in made for e in part)
            opts = tuple(a for a in tree.args or () if isinstance(a, ast.Opt))
            return self.experts.routed(ColumnScaffoldConfig(experts=experts), opts, "column")
        if kind is TissueScaffoldConfig:
            return tissue_form(tree, self.complaints)
        assert kind is not None
        cells = [a for a in tree.args or () if isinstance(a, ast.Cell)]
        wraps_scaffold = "scaffold" in kind.model_fields
        if len(cells) != 1:
            want = "expert" if wraps_scaffold else "core"
            example = f"{tree.name}(M)" if wraps_scaffold else f"{tree.name}(mlstm)"
            message = f"`{tree.name}` needs one {want}, got {len(cells)}"
            fix = Fix(tree.span, example) if not cells and not tree.args and not tree.wraps else None
            self.complaints.add(
                "E305",
                message,
                tree.span,
                f"no {want}" if not cells else "too many",
                help=f"write `{example}`",
                fix=fix,
            )
            return None
        if wraps_scaffold:
            inner = self.experts.cell(cells[0])
            if len(inner) != 1:
                if inner:
                    self.complaints.add(
                        "E305", f"`{tree.name}` takes one expert", cells[0].span, f"{len(inner)} experts"
                    )
                return None
            return self._configured(kind, {"scaffold": inner[0]}, tree.name, tree.args)
        core = self._core_of(cells[0])
        if core is None and cells[0].name != "none":
            return None
        return self._configured(kind, {"core": core}, tree.name, tree.args)

    def _core_of(self, cell: ast.Cell) -> Node | None:
        """The core that an argument of a scaffold stands for."""
        definition = self.experts.definitions.get(cell.name)
        if cell.name == "none":
            return None
        if cell.wraps or cell.copies != 1:
            self.complaints.add(
                "E208",
                "a core takes no wraps and no copies",
                cell.span,
                "only a core",
                help="wrap the scaffold instead",
            )
            return None
        if cell.name == "stack" and cell.args is not None:
            return self.experts.stack_form(cell)
        if definition is not None and definition.what == "stack":
            return definition.value
        if cell.name in kinds("core"):
            core = self.experts.core_named(cell.name, cell)
            return core and marked(core, span=cell.span)
        experts = self.experts.cell(cell)
        if len(experts) != 1:
            if experts:
                self.complaints.add("E305", "a scaffold takes one core", cell.span, f"{len(experts)} experts")
            return None
        core = getattr(inner_scaffold(experts[0]), "core", None)
        if core is None:
            known = kinds("core")
            self.complaints.add(
                "E305", f"`{cell.name}` is no core", cell.span, "expected a core", notes=(f"cores: {listed(known)}",)
            )
        return core

    def _configured(
        self, kind: type[Node], parts: dict[str, Any], name: str, args: tuple[ast.Arg, ...] | None
    ) -> Node | None:
        """A scaffold with its parts and options; a bare value is its first option."""
        opts = [a for a in args or () if isinstance(a, ast.Opt)]
        literals = [a for a in args or () if isinstance(a, ast.Literal)]
        first = next(iter(settable(kind)), None)
        for i, literal in enumerate(literals):
            if i == 0 and first is not None:
                opts.insert(
                    0,
                    ast.Opt(
                        name=first,
                        value=literal.value,
                        name_span=literal.span,
                        value_span=literal.span,
                        span=literal.span,
                    ),
                )
            else:
                self.complaints.add("E304", f"`{name}` takes one bare value at most", literal.span, "no name")
        try:
            node = kind(**parts)
        except ValueError:
            # A user's scaffold with required options: they must all come at once.
            given = unique(opts, self.complaints)
            values: dict[str, Any] = {o.name: o.value for o in given}
            try:
                origin = {o.name: Option(o.name_span, o.value_span) for o in given}
                return marked(kind(**parts, **values), origin=origin)
            except ValueError as error:
                self.complaints.add("E302", f"`{name}`: {error}", opts[0].span if opts else None)
                return None
        return with_options(node, opts, name, self.complaints)

    def wrapped(self, expert: Node, wrap: ast.Wrap) -> Node:
        """`expert@postup(2.0)`: its core in another scaffold, or the expert inside an adapter."""
        kind = kinds("scaffold").get(wrap.name)
        known = [n for n, c in kinds("scaffold").items() if {"core", "scaffold"} & set(c.model_fields)]
        if kind is None or wrap.name not in known:
            near = closest(wrap.name, known)
            fix = Fix(wrap.name_span, near) if near else None
            help_ = f"did you mean `{near}`?" if near else None
            notes = (f"scaffolds: {listed(known)}",)
            self.complaints.add(
                "E202",
                f"unknown scaffold `{wrap.name}`",
                wrap.name_span,
                "no scaffold has this name",
                notes=notes,
                help=help_,
                fix=fix,
            )
            return expert
        for arg in wrap.args or ():
            if isinstance(arg, ast.Cell):
                self.complaints.add("E304", f"`@{wrap.name}` takes options, not parts", arg.span, "not here")
                return expert
        if "scaffold" in kind.model_fields:
            return self._configured(kind, {"scaffold": expert}, wrap.name, wrap.args) or expert
        if "scaffold" in type(expert).model_fields:
            message = f"`@{wrap.name}` comes after `@{expert.kind}`"
            help_ = f"set the scaffold first: `...@{wrap.name}@{expert.kind}`"
            self.complaints.add("E208", message, wrap.span, "the scaffold is already wrapped", help=help_)
            return expert
        core = getattr(expert, "core", None)
        if core is None:
            self.complaints.add(
                "E208", f"`@{wrap.name}` needs an expert with a core", wrap.span, "nothing to put in it"
            )
            return expert
        made = self._configured(kind, {}, wrap.name, wrap.args)
        return expert if made is None else marked(with_core(made, core), token=expert._token)

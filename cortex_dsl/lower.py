"""The tree to the spec: definitions, layers, options, `set`, files."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from . import ast
from .diagnostics import Fix
from .experts import FORMS, Definition, Experts
from .limits import MAX_DEFINITIONS, MAX_INCLUDES, MAX_LAYERS, MAX_NESTING, MAX_PARTS
from .lower_set import apply_statement
from .lower_stack import stack_options
from .lower_tissue import tissue_layer
from .options import Complaints
from .parser import Reading
from .registry import RESERVED, Registry, tokens
from .sets import measure
from .spans import Source, Span
from .spec.base import Node, kinds, marked
from .spec.stack import CortexStackConfig

# Reads an included file: (path, including file) -> (name, text); raises OSError.
Loader = Callable[[str, str], tuple[str, str]]


class Lowering:
    """Lowers one text and what it includes."""

    def __init__(self, registry: Registry, *, load: Loader | None, allow_import: bool) -> None:
        self.registry = registry
        self.complaints = Complaints()
        self.experts = Experts(registry, self.complaints, self._stack_form)
        self.load = load
        self.allow_import = allow_import
        # All names so far; each new one is checked against them.
        self._names = registry.extended(None)
        self.sets: list[ast.Set] = []
        self.layers: list[Node] = []
        self.cuts: list[int] = []
        self.options: list[ast.Opt] = []
        self._open_files: list[str] = []

    # -- statements --------------------------------------------------------------------------------------------

    def program(self, tree: ast.Program, num_layers: int | None = None) -> CortexStackConfig | None:
        """The spec of a whole text; None when there is nothing to build one from."""
        mains: list[ast.Main] = []
        self._statements(tree, mains)
        for main in mains:
            self._extend(self.layers, self.cuts, self.sequence(main.layers), main.layers.span)
            self.options += main.options
        span = mains[0].span if mains else tree.span
        stacks = [d for d in self.experts.definitions.values() if d.what == "stack"]
        if not mains and len(stacks) == 1:
            spec = stacks[0].value
        elif not self.layers:
            if not self.complaints.found:
                help_ = "write one, such as `AXMS x4`"
                self.complaints.add("E100", "there are no layers", span, "expected a pattern", help=help_)
            return None
        else:
            spec = _stack(self.layers, self.cuts)
            plain = mains[0] if len(mains) == 1 and len(mains[0].layers.items) == 1 else None
            single = plain is not None and isinstance(plain.layers.items[0], ast.Column)
            spec = stack_options(spec, self.options, num_layers, self.complaints, single=single)
        if self._too_large(spec, span):
            return None
        for statement in self.sets:
            spec = apply_statement(spec, statement, self.complaints)
        return marked(spec, span=span)

    def _statements(self, tree: ast.Program, mains: list[ast.Main]) -> None:
        for statement in tree.statements:
            if isinstance(statement, ast.Let):
                self._define(statement)
            elif isinstance(statement, ast.Set):
                self.sets.append(statement)
            elif isinstance(statement, ast.Include):
                self._include(statement)
            elif isinstance(statement, ast.Import):
                self._import(statement)
            else:
                mains.append(statement)

    def _too_large(self, value: Node, span: Span) -> bool:
        depth, parts = measure(value)
        if depth > 4 * MAX_NESTING:
            self.complaints.add(
                "E602", f"parts are nested {depth} deep; the limit is {4 * MAX_NESTING}", span, "too deep"
            )
        elif parts > MAX_PARTS:
            self.complaints.add("E604", f"{parts} parts in one stack; the limit is {MAX_PARTS}", span, "too many")
        return depth > 4 * MAX_NESTING or parts > MAX_PARTS

    def _define(self, tree: ast.Let) -> None:
        before = len(self.experts.definitions)
        if before >= MAX_DEFINITIONS:
            if not any(d.code == "E603" for d in self.complaints.found):
                self.complaints.add("E603", f"more than {MAX_DEFINITIONS} definitions", tree.name_span, "one too many")
            self.experts.broken.add(tree.name)
            return
        self._define_checked(tree)
        if len(self.experts.definitions) == before and tree.name not in self.experts.definitions:
            self.experts.broken.add(tree.name)
        elif self.experts.definitions[tree.name].what == "cell" and tree.name not in self._names.names():
            self._names.add(tree.name, self.experts.definitions[tree.name].value)

    def _define_checked(self, tree: ast.Let) -> None:
        definitions = self.experts.definitions
        if tree.name in definitions:
            note = (f"first defined at {definitions[tree.name].span}",)
            self.complaints.add(
                "E209",
                f"`{tree.name}` is defined twice",
                tree.name_span,
                "defined again",
                notes=note,
                help="give it another name",
            )
            return
        taken = tree.name in self.registry.names() or tree.name in RESERVED or tree.name in FORMS
        taken = taken or tree.name in kinds("core") or tree.name in kinds("scaffold")
        known = self._names
        problem = "it already has a meaning" if taken else known.refuses(tree.name)
        if problem:
            free = next(
                f"my_{n}"
                for n in (tree.name.lower().strip("^_") or "x", "cell", "part")
                if not known.refuses(f"my_{n}")
            )
            fix = Fix(tree.name_span, free)
            self.complaints.add(
                "E206",
                f"`{tree.name}` cannot be defined: {problem}",
                tree.name_span,
                "not free",
                help=f"take another name, such as `{free}`",
                fix=fix,
            )
            return
        if isinstance(tree.value, ast.Cell):
            experts = self.experts.cell(tree.value)
            if len(experts) > 1:
                message = f"`let` names one expert; this is {len(experts)}"
                fix = Fix(Span(tree.span.source, tree.span.start, tree.name_span.start), "stack ")
                self.complaints.add(
                    "E210",
                    message,
                    tree.value.span,
                    "several experts",
                    help=f"use `stack {tree.name} = {tree.value.span.text}`",
                    fix=fix,
                )
            elif experts and not self._too_large(experts[0], tree.span):
                definitions[tree.name] = Definition("cell", marked(experts[0], token=tree.name), tree.name_span)
        elif isinstance(tree.value, ast.Tissue):
            layer = tissue_layer(tree.value, self.complaints)
            if layer is not None:
                definitions[tree.name] = Definition("tissue", layer, tree.name_span)
        else:
            layers: list[Node] = []
            cuts: list[int] = []
            self._extend(layers, cuts, self.sequence(tree.value), tree.value.span)
            spec = _stack(layers, cuts)
            spec = stack_options(spec, list(tree.options), None, self.complaints, single=False)
            if self._too_large(spec, tree.span):
                return
            definitions[tree.name] = Definition("stack", marked(spec, span=tree.span), tree.name_span)

    def _include(self, tree: ast.Include) -> None:
        if self.load is None:
            self.complaints.add("E401", "`include` is switched off here", tree.span, "not read")
            return
        try:
            name, text = self.load(tree.path, tree.span.source.name)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.complaints.add(
                "E401",
                f"cannot read `{tree.path}`: {reason}",
                tree.span,
                "not read",
                help="paths are relative to the file that includes",
            )
            return
        if name in self._open_files or name == tree.span.source.name or len(self._open_files) >= MAX_INCLUDES:
            chain = " -> ".join([*self._open_files, name])
            self.complaints.add("E402", f"`{tree.path}` includes itself", tree.span, "a circle", notes=(chain,))
            return
        reading = Reading(Source(name, text))
        program = reading.program()
        self.complaints.found += reading.diagnostics
        mains: list[ast.Main] = []
        if program is not None:
            self._open_files.append(name)
            self._statements(program, mains)
            self._open_files.pop()
        for main in mains:
            help_ = "name them: `stack trunk = ...`, and use `trunk`"
            self.complaints.add(
                "E403", "an included file brings definitions, not layers", main.span, "layers", help=help_
            )

    def _import(self, tree: ast.Import) -> None:
        if not self.allow_import:
            help_ = "pass `allow_import=True`, or `--allow-import` on the command line, if you trust this text"
            self.complaints.add(
                "E404", f"`import {tree.module}` would run Python code", tree.span, "not allowed here", help=help_
            )
            return
        try:
            importlib.import_module(tree.module)
        except Exception as error:  # whatever the module raises is the user's to see, with its place
            self.complaints.add(
                "E405", f"`import {tree.module}` failed: {type(error).__name__}: {error}", tree.span, "failed"
            )
            return
        # Tokens that the module registered join those of this text.
        for info in tokens():
            if info.name not in self.registry.names() and self.registry.refuses(info.name) is None:
                self.registry.add(info.name, info.config)

    # -- layers ------------------------------------------------------------------------------------------------

    def sequence(self, tree: ast.Layers) -> tuple[list[Node], list[int]]:
        """Layers in depth, and the cuts between them."""
        layers: list[Node] = []
        cuts: list[int] = []
        for i, item in enumerate(tree.items):
            if i > 0 and tree.separators[i - 1] == "|" and layers:
                cuts.append(len(layers))
            self._extend(layers, cuts, self._layer(item), item.span)
        # A cut after which nothing could be read would stand at the end.
        return layers, [c for c in cuts if c < len(layers)]

    def _extend(self, layers: list[Node], cuts: list[int], more: tuple[list[Node], list[int]], span: Span) -> None:
        if len(layers) + len(more[0]) > MAX_LAYERS:
            if not any(d.code == "E603" for d in self.complaints.found):
                self.complaints.add("E603", f"more than {MAX_LAYERS} layers", span, "too many")
            return
        cuts += [len(layers) + c for c in more[1]]
        layers += more[0]

    def _layer(self, tree: ast.Layer) -> tuple[list[Node], list[int]]:
        if isinstance(tree, ast.Layers):
            return self.sequence(tree)
        if isinstance(tree, ast.Repeat):
            layers, cuts = self._layer(tree.item)
            if len(layers) * tree.count > MAX_LAYERS:
                message = f"{len(layers)} x {tree.count} layers; the limit is {MAX_LAYERS}"
                self.complaints.add("E603", message, tree.count_span or tree.span, "too many")
                return layers, cuts
            every = [c + i * len(layers) for i in range(tree.count) for c in cuts]
            return layers * tree.count, every
        if isinstance(tree, ast.Tissue):
            made = tissue_layer(tree, self.complaints)
        elif spliced := self._defined_layers(tree):
            return spliced
        else:
            made = self.experts.column(tree)
        return ([made] if made is not None else []), []

    def _defined_layers(self, tree: ast.Column) -> tuple[list[Node], list[int]] | None:
        """`trunk` or `T` alone is the stack or tissue of that name."""
        if len(tree.cells) != 1 or tree.router is not None:
            return None
        cell = tree.cells[0]
        definition = self.experts.definitions.get(cell.name)
        if definition is None or definition.what == "cell" or cell.args is not None or cell.wraps or cell.copies != 1:
            return None
        if definition.what == "tissue":
            return [marked(definition.value, span=tree.span)], []
        return list(definition.value.scaffolds), list(definition.value.cuts)

    # -- stacks as cores -----------------------------------------------------------------------------------------

    def _stack_form(self, cell: ast.Cell) -> CortexStackConfig | None:
        """`stack(AXMS, M^, post_norm=false)`: a stack as a core."""
        layers: list[Node] = []
        before = len(self.complaints.found)
        for arg in cell.args or ():
            if isinstance(arg, ast.Literal):
                self.complaints.add("E304", "`stack` takes layers and options", arg.span, "no name")
            elif isinstance(arg, ast.Cell):
                made = self._form_layer(arg)
                if not made:
                    return None  # the layer has its own complaint
                layers += made
        opts = [a for a in cell.args or () if isinstance(a, ast.Opt)]
        if any(d.severity == "error" for d in self.complaints.found[before:]):
            return None
        spec = CortexStackConfig(scaffolds=tuple(layers))
        return marked(stack_options(spec, opts, None, self.complaints, single=False), span=cell.span)

    def _form_layer(self, cell: ast.Cell) -> list[Node]:
        column = ast.Column(cells=(cell,), router=None, span=cell.span)
        if cell.name == "column" and not cell.wraps and cell.copies == 1:
            return self.experts.cell(cell)
        return self._layer(column)[0]


def _stack(layers: list[Node], cuts: list[int]) -> CortexStackConfig:
    # Layers that could not be read leave cuts beside each other or at the end.
    between = tuple(sorted({c for c in cuts if 0 < c < len(layers)}))
    # No cuts is the default, not an option that the text gave.
    if not between:
        return CortexStackConfig(scaffolds=tuple(layers))
    return marked(CortexStackConfig(scaffolds=tuple(layers), cuts=between), origin={"cuts": "`|` in the pattern"})

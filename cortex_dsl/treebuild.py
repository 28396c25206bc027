"""Lark's parse tree to our frozen tree."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import ast
from .spans import Source, Span

# Reads the text of a list item or a nested tissue: (start rule, offset, text) -> tree.
SubParse = Callable[[str, int, str], Any]


class TreeBuilder:
    """Builds the tree of one text. `offset` shifts spans when the text is a string inside another text."""

    def __init__(self, source: Source, sub_parse: SubParse, offset: int = 0) -> None:
        self.source = source
        self.sub_parse = sub_parse
        self.offset = offset

    def build(self, tree: Any) -> Any:
        """The node for a Lark tree, by the name of its rule."""
        return getattr(self, f"_{tree.data}")(tree)

    def _span(self, item: Any) -> Span:
        meta = getattr(item, "meta", item)
        start = getattr(meta, "start_pos", None) or 0
        end = getattr(meta, "end_pos", None)
        return Span(self.source, start + self.offset, (start if end is None else end) + self.offset)

    def _program(self, tree: Any) -> ast.Program:
        # Lark's end of a program is its last token; an empty one has none.
        return ast.Program(statements=tuple(self.build(c) for c in tree.children), span=self._span(tree))

    def _pattern(self, tree: Any) -> ast.Main:
        return self._main(tree)

    def _main(self, tree: Any) -> ast.Main:
        layers, options = self._layers_with(tree.children)
        return ast.Main(layers=layers, options=options, span=self._span(tree))

    def _layers_with(self, children: list[Any]) -> tuple[ast.Layers, tuple[ast.Opt, ...]]:
        options = tuple(self.build(o) for o in children[1].children) if len(children) > 1 else ()
        return self.build(children[0]), options

    def _let_cell(self, tree: Any) -> ast.Let:
        name, cell = tree.children
        return ast.Let(
            name=str(name), value=self.build(cell), options=(), name_span=self._span(name), span=self._span(tree)
        )

    def _let_stack(self, tree: Any) -> ast.Let:
        name, *rest = tree.children
        layers, options = self._layers_with(rest)
        return ast.Let(name=str(name), value=layers, options=options, name_span=self._span(name), span=self._span(tree))

    _let_tissue = _let_cell

    def _set_global(self, tree: Any) -> ast.Set:
        path, value = tree.children
        return ast.Set(
            path=tuple(map(str, path.children)),
            value=self._value(value),
            path_span=self._span(path),
            value_span=self._span(value),
            span=self._span(tree),
        )

    def _include(self, tree: Any) -> ast.Include:
        return ast.Include(path=unquote(tree.children[0]), span=self._span(tree.children[0]))

    def _import_py(self, tree: Any) -> ast.Import:
        path = tree.children[0]
        return ast.Import(module=".".join(map(str, path.children)), span=self._span(path))

    def _layers(self, tree: Any) -> ast.Layers:
        items: list[ast.Layer] = []
        separators: list[str] = []
        for child in tree.children:
            if not hasattr(child, "data"):
                separators.append(str(child))
                continue
            if len(separators) < len(items):
                separators.append("/")  # left out after `xN`, `)` or `]`
            items.append(self.build(child))
        return ast.Layers(items=tuple(items), separators=tuple(separators), span=self._span(tree))

    def _repeated(self, tree: Any) -> ast.Repeat:
        item, count = tree.children
        return ast.Repeat(
            item=self.build(item), count=int(count[1:]), count_span=self._span(count), span=self._span(tree)
        )

    def _group(self, tree: Any) -> ast.Repeat:
        layers, *count = tree.children
        return self._counted(self.build(layers), count, tree)

    def _layer_list(self, tree: Any) -> ast.Repeat:
        items = [c for c in tree.children if getattr(c, "type", "") != "REPEAT"]
        count = [c for c in tree.children if getattr(c, "type", "") == "REPEAT"]
        columns = tuple(self._litem(item) for item in items)
        layers = ast.Layers(items=columns, separators=("/",) * (len(columns) - 1), span=self._span(tree))
        return self._counted(layers, count, tree)

    def _counted(self, layers: ast.Layers, count: list[Any], tree: Any) -> ast.Repeat:
        times = int(count[0][1:]) if count else 1
        span = self._span(count[0]) if count else None
        return ast.Repeat(item=layers, count=times, count_span=span, span=self._span(tree))

    def _litem(self, item: Any) -> ast.Column:
        if hasattr(item, "data"):
            cells = tuple(self.build(c) for c in item.children)
            return ast.Column(cells=cells, router=None, span=self._span(item))
        return self.sub_parse("column", self._span(item).start + 1, str(item)[1:-1])

    def _column(self, tree: Any) -> ast.Column:
        cells = tuple(self.build(c) for c in tree.children if c.data == "cell")
        routers = [c for c in tree.children if c.data == "router"]
        router = tuple(self.build(o) for o in routers[0].children) if routers else None
        return ast.Column(cells=cells, router=router, span=self._span(tree))

    def _cell(self, tree: Any) -> ast.Cell:
        name, *rest = tree.children
        args, wraps, copies, copies_span = None, [], 1, None
        for part in rest:
            if part.data == "call":
                args = self._call(part)
            elif part.data == "wrap":
                wraps.append(self.build(part))
            else:
                copies, copies_span = int(part.children[0]), self._span(part)
        return ast.Cell(
            name=str(name),
            args=args,
            wraps=tuple(wraps),
            copies=copies,
            name_span=self._span(name),
            copies_span=copies_span,
            span=self._span(tree),
        )

    def _wrap(self, tree: Any) -> ast.Wrap:
        name, *call = tree.children
        args = self._call(call[0]) if call else None
        return ast.Wrap(name=str(name), args=args, name_span=self._span(name), span=self._span(tree))

    def _call(self, tree: Any) -> tuple[ast.Arg, ...]:
        return tuple(self.build(a) for a in tree.children if hasattr(a, "data"))

    def _literal(self, tree: Any) -> ast.Literal:
        return ast.Literal(value=self._value(tree.children[0]), span=self._span(tree))

    def _opt(self, tree: Any) -> ast.Opt:
        name, value = tree.children
        return ast.Opt(
            name=str(name),
            value=self._value(value),
            name_span=self._span(name),
            value_span=self._span(value),
            span=self._span(tree),
        )

    def _tissue_layer(self, tree: Any) -> ast.Tissue:
        return self.build(tree.children[0])

    def _tissue(self, tree: Any) -> ast.Tissue:
        dims, mix, *options = tree.children
        return ast.Tissue(
            dims=tuple(int(d) for d in dims.split("x")),
            mix=tuple(self._share(s) for s in mix.children),
            options=tuple(self.build(o) for o in options),
            span=self._span(tree),
        )

    def _share(self, tree: Any) -> ast.Share:
        name, share = tree.children
        return ast.Share(name=str(name), share=float(share), span=self._span(tree))

    def _value(self, value: Any) -> Any:
        if hasattr(value, "data"):
            return tuple(self._value(v) for v in value.children)
        if value.type == "INT":
            return int(value)
        if value.type == "NUMBER":
            return float(value)
        if value.type == "STRING":
            return unquote(value)
        return {"true": True, "false": False, "none": None}.get(str(value), str(value))


def unquote(text: str) -> str:
    """The content of a quoted string; JSON's escapes."""
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]  # a tab or an unknown escape stays as written

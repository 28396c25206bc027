"""A text to its canonical spelling. Definitions, groups and comments stay; only the writing changes.

`format_spec` prints what a text means; this prints what it says, so a file keeps its structure.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import ast
from .api import parse_ast
from .options import show_value
from .registry import Registry, default_registry
from .scan import comments
from .spec.tissue import NAME


def format_text(text: str, *, source: str = "<pattern>", registry: Registry | None = None) -> str:
    """The canonical spelling of a pattern or a file; raises `CortexSyntaxError` where there is none.

    Idempotent, and it never changes the spec. One statement on each line; comments stay before or beside theirs.
    """
    tree = parse_ast(text, source=source)
    writer = _Writer(registry or default_registry())
    notes = [(tree.span.source.position(at)[0], at, note.rstrip()) for at, note in comments(text)]
    lines: list[str] = []
    last_line = 0
    for group in _joined(tree.statements, [line for line, _, _ in notes]):
        first = group[0].span.source.position(_start(group[0]))[0]
        end = group[-1].span.source.position(max(_start(group[-1]), group[-1].span.end - 1))[0]
        before = [n for n in notes if last_line < n[0] < first]
        beside = [n for n in notes if first <= n[0] <= end]
        lines += _with_gaps(text, tree, before, last_line, first, bool(lines))
        written = writer.statement(group)
        if len(beside) == 1 and beside[0][0] == end:
            written += f"  {beside[0][2]}"
        else:
            lines += [note for _, _, note in beside]
        lines.append(written)
        last_line = end
    tail = [note for line, _, note in notes if line > last_line]
    lines += tail
    return "\n".join(lines) + ("\n" if "\n" in text.strip() or text.endswith("\n") else "")


def _start(statement: ast.Statement) -> int:
    # The keyword is no part of what Lark reports for some statements; the line is what matters.
    return statement.span.start


def _joined(statements: Sequence[ast.Statement], comment_lines: list[int]) -> list[list[ast.Statement]]:
    """Lines of layers that follow each other are one pattern, unless a comment stands between or they have options."""
    groups: list[list[ast.Statement]] = []
    for statement in statements:
        last = groups[-1][-1] if groups else None
        if isinstance(statement, ast.Main) and isinstance(last, ast.Main) and not last.options:
            a = last.span.source.position(last.span.start)[0]
            b = statement.span.source.position(max(statement.span.start, statement.span.end - 1))[0]
            if not any(a <= line <= b for line in comment_lines):
                groups[-1].append(statement)
                continue
        groups.append([statement])
    return groups


def _with_gaps(
    text: str, tree: ast.Program, before: list[tuple[int, int, str]], last: int, first: int, any_lines: bool
) -> list[str]:
    """Comments before a statement; an empty line where the writer had left one."""
    taken = {line for line, _, _ in before}
    empty = any(n not in taken and not tree.span.source.line(n).strip() for n in range(last + 1, first))
    gap = [""] if empty and any_lines else []
    return gap + [note for _, _, note in before]


class _Writer:
    def __init__(self, registry: Registry) -> None:
        self.glued = {i.name for i in registry.infos() if i.built_in}
        self.registry = registry

    def statement(self, group: Sequence[ast.Statement]) -> str:
        first = group[0]
        if isinstance(first, ast.Main):
            mains = [m for m in group if isinstance(m, ast.Main)]
            return " / ".join(self.layers(m.layers) for m in mains) + self.options(mains[-1].options)
        if isinstance(first, ast.Let):
            if isinstance(first.value, ast.Cell):
                return f"let {first.name} = {self.cell(first.value)}"
            if isinstance(first.value, ast.Tissue):
                return f"tissue {first.name} = {self.tissue(first.value)}"
            return f"stack {first.name} = {self.layers(first.value)}{self.options(first.options)}"
        if isinstance(first, ast.Set):
            return f"set {'.'.join(first.path)} = {show_value(first.value)}"
        if isinstance(first, ast.Include):
            return f"include {quote(first.path)}"
        return f"import {first.module}"

    def options(self, opts: Sequence[ast.Opt]) -> str:
        return f" with {' '.join(map(self.opt, opts))}" if opts else ""

    def opt(self, opt: ast.Opt) -> str:
        return f"{opt.name}={show_value(opt.value)}"

    def layers(self, tree: ast.Layers) -> str:
        text = ""
        for i, item in enumerate(tree.items):
            text += f" {tree.separators[i - 1]} " if i else ""
            text += self.layer(item)
        return text

    def layer(self, tree: ast.Layer) -> str:
        if isinstance(tree, ast.Layers):
            return self.layers(tree)
        if isinstance(tree, ast.Column):
            return self.column(tree)
        if isinstance(tree, ast.Tissue):
            return f"tissue {self.tissue(tree)}"
        inner = self.layer(tree.item)
        if tree.count_span is None:
            return inner  # a group or list without a repeat says nothing
        return f"({inner}) x{tree.count}" if isinstance(tree.item, ast.Layers) else f"{inner} x{tree.count}"

    def column(self, tree: ast.Column) -> str:
        texts: list[str] = []
        plain = True
        for cell in tree.cells:
            parts = self.registry.split(cell.name)
            bare = cell.args is None and not cell.wraps
            plain = plain and bare and parts is not None and set(parts) <= self.glued
            names = list(parts) if parts and len(parts) > 1 else [cell.name]
            # Arguments belong to the last token of a run, and copies are written out.
            texts += names[:-1] + [self.attached(names[-1], cell)] * cell.copies
        router = f"{{{', '.join(map(self.opt, tree.router))}}}" if tree.router else ""
        return ("" if plain else " ").join(texts) + router

    def cell(self, tree: ast.Cell) -> str:
        return self.attached(tree.name, tree) + (f"*{tree.copies}" if tree.copies != 1 else "")

    def attached(self, name: str, tree: ast.Cell) -> str:
        call = "" if tree.args is None else f"({', '.join(map(self.arg, tree.args))})"
        return name + call + "".join(self.wrap(w) for w in tree.wraps)

    def wrap(self, wrap: ast.Wrap) -> str:
        return f"@{wrap.name}" + ("" if wrap.args is None else f"({', '.join(map(self.arg, wrap.args))})")

    def arg(self, arg: ast.Arg) -> str:
        if isinstance(arg, ast.Opt):
            return self.opt(arg)
        if isinstance(arg, ast.Cell):
            return self.cell(arg)
        return quote(arg.value) if isinstance(arg.value, str) else show_value(arg.value)

    def tissue(self, tree: ast.Tissue) -> str:
        shares = ", ".join(
            f"{s.name}: {show_value(int(s.share) if s.share == int(s.share) else s.share)}" for s in tree.mix
        )
        options = "".join(f" {self.opt(o)}" for o in tree.options)
        return f"{'x'.join(map(str, tree.dims))} {{{shares}}}{options}"


def quote(text: str) -> str:
    """A string in quotes, where a bare word would mean something else."""
    value = show_value(text)
    return f'"{value}"' if NAME.fullmatch(value) else value

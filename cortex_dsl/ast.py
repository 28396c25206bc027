"""The tree of a text, before names mean anything. Frozen, printable, a span on every node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from .spans import Span

Value: TypeAlias = "int | float | str | bool | tuple[Value, ...] | None"


@dataclass(frozen=True, kw_only=True)
class Tree:
    """Base of all nodes; spans take no part in equality."""

    span: Span = field(repr=False, compare=False)

    def pretty(self) -> str:
        """The tree as indented lines, each with its place."""
        return "\n".join(_lines(self, 0, ""))


@dataclass(frozen=True)
class Opt(Tree):
    """`name=value`."""

    name: str
    value: Value
    name_span: Span = field(repr=False, compare=False)
    value_span: Span = field(repr=False, compare=False)


@dataclass(frozen=True)
class Literal(Tree):
    """A bare value in a call: `postup(2.0)`."""

    value: Value


@dataclass(frozen=True)
class Wrap(Tree):
    """`@postup(2.0)`."""

    name: str
    args: tuple[Arg, ...] | None
    name_span: Span = field(repr=False, compare=False)


@dataclass(frozen=True)
class Cell(Tree):
    """A name with what is attached to it; it may still be a run of glued tokens."""

    name: str
    args: tuple[Arg, ...] | None
    wraps: tuple[Wrap, ...]
    copies: int
    name_span: Span = field(repr=False, compare=False)
    copies_span: Span | None = field(default=None, repr=False, compare=False)


Arg: TypeAlias = Opt | Cell | Literal


@dataclass(frozen=True)
class Column(Tree):
    """Experts side by side, and their router."""

    cells: tuple[Cell, ...]
    router: tuple[Opt, ...] | None


@dataclass(frozen=True)
class Share(Tree):
    """`slstm: 0.7`."""

    name: str
    share: float


@dataclass(frozen=True)
class Tissue(Tree):
    """`32x32 {slstm: 0.7, axon: 0.3} r=1`."""

    dims: tuple[int, ...]
    mix: tuple[Share, ...]
    options: tuple[Opt, ...]


@dataclass(frozen=True)
class Layers(Tree):
    """Layers in depth; `separators[i]` (`/` or `|`) stands after item i."""

    items: tuple[Layer, ...]
    separators: tuple[str, ...]


@dataclass(frozen=True)
class Repeat(Tree):
    """`AXMS x4`, `(A / M) x2`; a group without a repeat has count 1."""

    item: Column | Tissue | Layers
    count: int
    count_span: Span | None = field(default=None, repr=False, compare=False)


Layer: TypeAlias = Column | Tissue | Layers | Repeat


@dataclass(frozen=True)
class Let(Tree):
    """`let Q = ...`, `stack trunk = ...`, `tissue T = ...`."""

    name: str
    value: Cell | Layers | Tissue
    options: tuple[Opt, ...]
    name_span: Span = field(repr=False, compare=False)


@dataclass(frozen=True)
class Set(Tree):
    """`set XLCore.mem_len = 64`."""

    path: tuple[str, ...]
    value: Value
    path_span: Span = field(repr=False, compare=False)
    value_span: Span = field(repr=False, compare=False)


@dataclass(frozen=True)
class Include(Tree):
    """`include "x.cortex"`."""

    path: str


@dataclass(frozen=True)
class Import(Tree):
    """`import pkg.tokens`."""

    module: str


@dataclass(frozen=True)
class Main(Tree):
    """A line of layers that belongs to the stack itself."""

    layers: Layers
    options: tuple[Opt, ...]


Statement: TypeAlias = Let | Set | Include | Import | Main


@dataclass(frozen=True)
class Program(Tree):
    """A whole text."""

    statements: tuple[Statement, ...]


def _lines(node: Any, depth: int, label: str) -> Iterator[str]:
    pad = "  " * depth + (f"{label}: " if label else "")
    plain, nested = [], []
    for f in fields(node):
        value = getattr(node, f.name)
        if isinstance(value, Span) or f.name == "span" or not f.repr:
            continue
        if isinstance(value, Tree) or (isinstance(value, tuple) and any(isinstance(v, Tree) for v in value)):
            nested.append((f.name, value))
        elif value not in ((), None) or f.name == "value":
            plain.append(f"{f.name}={value!r}")
    yield f"{pad}{type(node).__name__}({', '.join(plain)}) @{node.span}"
    for name, value in nested:
        if isinstance(value, Tree):
            yield from _lines(value, depth + 1, name)
        else:
            for i, item in enumerate(value):
                yield from _lines(item, depth + 1, f"{name}[{i}]")

"""Frozen SSA graphs.

Every value of a graph has a name, and the first character says where it comes from:

- ``%x``  an input or the result of a node,
- ``@core.igate.weight``  a parameter, named by its path in the module tree,
- ``$AxonCore.hc1``  a state slot, named by its path in the state (``.`` between levels).

A node input may be ``-``: an optional operand that is absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from .types import Type

Attr: TypeAlias = int | float | str | bool | tuple["Attr", ...] | None

ABSENT = "-"


@dataclass(frozen=True, slots=True)
class Value:
    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Init:
    """How a parameter starts: the name of a rule in ``runtime/init.py`` and its numbers."""

    rule: str
    args: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule}({', '.join(str(int(a)) if a == int(a) else repr(a) for a in self.args)})"


@dataclass(frozen=True, slots=True)
class Param:
    path: str
    type: Type
    init: Init
    trainable: bool = True  # False: a buffer, saved with the weights and never given a gradient
    adapter: bool = False  # of a routed adapter, beside the trunk

    @property
    def kind(self) -> str:
        """ "param", "buffer" or "adapter"."""
        return "adapter" if self.adapter else "param" if self.trainable else "buffer"

    @property
    def name(self) -> str:
        return f"@{self.path}"


@dataclass(frozen=True, slots=True)
class State:
    """One leaf of the carried state. ``start`` is the value of a fresh or reset row."""

    path: tuple[str, ...]
    type: Type
    start: int | float = 0

    @property
    def name(self) -> str:
        return "$" + ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Node:
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[Value, ...]
    attrs: tuple[tuple[str, Attr], ...] = ()
    where: str = ""  # the part of the pattern that asked for this node, e.g. "A at 1:1"

    def attr(self, key: str, default: Attr = None) -> Attr:
        return dict(self.attrs).get(key, default)

    def update(self, **changes: object) -> Node:
        return replace(self, **changes)  # type: ignore[arg-type]

    def with_attrs(self, **attrs: Attr) -> Node:
        return self.update(attrs=tuple({**dict(self.attrs), **attrs}.items()))


@dataclass(frozen=True, slots=True)
class Graph:
    """One function: a layer, or the stack that calls its layers. ``next_state`` runs parallel to ``states``."""

    name: str
    inputs: tuple[Value, ...]
    params: tuple[Param, ...]
    states: tuple[State, ...]
    nodes: tuple[Node, ...]
    output: str
    next_state: tuple[str, ...]

    def update(self, **changes: object) -> Graph:
        return replace(self, **changes)  # type: ignore[arg-type]

    def types(self) -> dict[str, Type]:
        """The type of every value, by name."""
        found = {v.name: v.type for v in self.inputs}
        found |= {p.name: p.type for p in self.params}
        found |= {s.name: s.type for s in self.states}
        for node in self.nodes:
            found |= {v.name: v.type for v in node.outputs}
        return found

    def uses(self) -> dict[str, int]:
        """How often each value is read, by nodes, by the output and by the next state."""
        count: dict[str, int] = {}
        for name in (*(i for n in self.nodes for i in n.inputs), self.output, *self.next_state):
            count[name] = count.get(name, 0) + 1
        return count


@dataclass(frozen=True, slots=True)
class Program:
    """All graphs of one mode (``sequence`` or ``step``). ``entry`` is the stack; its ``call`` nodes name the others."""

    mode: str
    entry: Graph
    layers: Mapping[str, Graph] = field(default_factory=dict)

    def graphs(self) -> Iterator[Graph]:
        yield from self.layers.values()
        yield self.entry

    def map(self, fn: object) -> Program:
        """Apply a pass ``Graph -> Graph`` to every graph."""
        assert callable(fn)
        return Program(self.mode, fn(self.entry), {k: fn(g) for k, g in self.layers.items()})

    def calls(self) -> Iterator[tuple[Node, Graph]]:
        for node in self.entry.nodes:
            if node.op == "call":
                yield node, self.layers[str(node.attr("graph"))]

    def all_params(self) -> Iterator[Param]:
        """Every parameter under its full path, in the order of the pattern."""
        for node, graph in self.calls():
            for p in graph.params:
                yield replace(p, path=f"{node.attr('scope')}.{p.path}")
        yield from self.entry.params

    def all_states(self) -> Iterator[State]:
        """Every state leaf under its full path."""
        for node, graph in self.calls():
            for s in graph.states:
                yield replace(s, path=(str(node.attr("state")), *s.path))
        yield from self.entry.states

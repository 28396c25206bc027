"""What every graph must satisfy between passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .graph import ABSENT, Attr, Graph, Node
from .types import Type

Infer = Callable[[tuple[Type | None, ...], Mapping[str, Attr]], tuple[Type, ...]]


class VerifyError(AssertionError):
    """A pass produced a graph that is not well formed. This is a defect of the compiler, never of a pattern."""


def verify(graph: Graph, infer: Mapping[str, Infer] | None = None) -> Graph:
    """Check that names are defined once and before use, that types agree with the shape rules, and that the output
    and every state slot are produced, a slot in its own shape and dtype. ``infer`` maps op names to shape rules.
    Returns the graph."""
    known: dict[str, Type] = {}

    def define(name: str, type_: Type, what: str) -> None:
        if name in known:
            raise VerifyError(f"{graph.name}: {what} defines {name} a second time")
        known[name] = type_

    for v in graph.inputs:
        define(v.name, v.type, "input")
    for p in graph.params:
        define(p.name, p.type, "parameter")
    for s in graph.states:
        define(s.name, s.type, "state")
    for node in graph.nodes:
        _check_node(graph, node, known, infer)
        for v in node.outputs:
            define(v.name, v.type, f"node {node.op}")
    if len(graph.next_state) != len(graph.states):
        raise VerifyError(f"{graph.name}: {len(graph.states)} state slots, {len(graph.next_state)} next values")
    for name in (graph.output, *graph.next_state):
        if name not in known:
            raise VerifyError(f"{graph.name}: returned value {name} is never defined")
    for s, name in zip(graph.states, graph.next_state, strict=True):
        if (known[name].shape, known[name].dtype) != (s.type.shape, s.type.dtype):
            raise VerifyError(f"{graph.name}: {s.name} is {s.type}, its next value {name} is {known[name]}")
    return graph


def _check_node(graph: Graph, node: Node, known: Mapping[str, Type], infer: Mapping[str, Infer] | None) -> None:
    for name in node.inputs:
        if name != ABSENT and name not in known:
            raise VerifyError(f"{graph.name}: {node.op} ({node.where}) reads {name} before it is defined")
    if infer is None:
        return
    if node.op not in infer:
        raise VerifyError(f"{graph.name}: unknown op {node.op}")
    types = tuple(None if name == ABSENT else known[name] for name in node.inputs)
    expected = infer[node.op](types, dict(node.attrs))
    if node.op != "call" and tuple(v.type for v in node.outputs) != expected:
        got = ", ".join(str(v.type) for v in node.outputs)
        raise VerifyError(f"{graph.name}: {node.op} ({node.where}) gives {', '.join(map(str, expected))}, not {got}")

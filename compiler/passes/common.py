"""Common subexpressions: a node equal to an earlier one (op, operands, attributes) is that one.

Every op is a pure function of its operands, so equal nodes have equal values.
"""

from __future__ import annotations

from ..ir import Graph, Node
from .rewrite import renamed


def common_subexpressions(graph: Graph) -> Graph:
    seen: dict[tuple[object, ...], Node] = {}
    names: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(names.get(i, i) for i in node.inputs)
        key = (node.op, inputs, node.attrs)
        if key in seen:
            names |= {a.name: b.name for a, b in zip(node.outputs, seen[key].outputs, strict=True)}
        else:
            seen[key] = node
            kept.append(node)
    return renamed(graph, kept, names) if names else graph

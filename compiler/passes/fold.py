"""Fold: remove nodes that compute nothing, and join scalar steps.

``x + 0``, ``x * 1``, ``x / 1`` and ``alias(x)`` become x; ``(x * a) * b`` becomes ``x * ab``; ``(x + a) + b``
likewise; a split into one piece is its operand.
"""

from __future__ import annotations

from ..ir import Graph, Node
from .rewrite import renamed

_NEUTRAL = {"add_scalar": 0.0, "mul_scalar": 1.0, "div_scalar": 1.0}


def fold(graph: Graph) -> Graph:
    names: dict[str, str] = {}
    kept: list[Node] = []
    by_output: dict[str, Node] = {}
    types, uses = graph.types(), graph.uses()
    for node in graph.nodes:
        source = names.get(node.inputs[0], node.inputs[0]) if node.inputs else ""
        if _is_identity(node) and node.outputs[0].type == types[node.inputs[0]]:
            names[(gone := node.outputs[0].name)] = source
            uses[source] += uses.get(gone, 0) - 1  # who read the alias reads the source now
            continue
        before = by_output.get(source)
        if before and before.op == node.op and uses[source] == 1 and node.op in ("add_scalar", "mul_scalar"):
            node = _joined(before, node)
            kept.remove(before)
        kept.append(node)
        by_output |= {v.name: node for v in node.outputs}
    return renamed(graph, kept, names) if len(kept) != len(graph.nodes) else graph


def _is_identity(node: Node) -> bool:
    if node.op == "alias" or (node.op == "split" and len(node.outputs) == 1):
        return True
    return node.op in _NEUTRAL and node.attr("c") == _NEUTRAL[node.op]


def _joined(first: Node, second: Node) -> Node:
    a, b = first.attr("c"), second.attr("c")
    assert isinstance(a, float) and isinstance(b, float)
    return second.update(inputs=first.inputs).with_attrs(c=a + b if second.op == "add_scalar" else a * b)

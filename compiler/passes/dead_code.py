"""Dead code: drop nodes none of whose results is read, by another node, the output or the next state."""

from __future__ import annotations

from ..ir import Graph, Node


def dead_code(graph: Graph) -> Graph:
    live = {graph.output, *graph.next_state}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v.name in live for v in node.outputs):
            kept.append(node)
            live.update(node.inputs)
    return graph.update(nodes=tuple(reversed(kept))) if len(kept) != len(graph.nodes) else graph

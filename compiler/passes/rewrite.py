"""What passes share: renaming the operands of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir import Graph, Node


def renamed(graph: Graph, nodes: Sequence[Node], names: Mapping[str, str]) -> Graph:
    """``graph`` with new ``nodes``, every read of a key of ``names`` turned into a read of its value."""

    def final(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    return graph.update(
        nodes=tuple(n.update(inputs=tuple(map(final, n.inputs))) for n in nodes),
        output=final(graph.output),
        next_state=tuple(map(final, graph.next_state)),
    )

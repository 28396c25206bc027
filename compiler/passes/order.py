"""Put nodes back in an order in which every value is defined before it is read, changing as little as possible."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Node


def in_order(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """A stable topological order: a node moves only as far as its operands ask."""
    producer = {v.name: i for i, n in enumerate(nodes) for v in n.outputs}
    done: set[int] = set()
    out: list[Node] = []

    for start in range(len(nodes)):
        # An explicit stack: graphs of deep layers would overflow recursion.
        stack = [start]
        while stack:
            index = stack[-1]
            if index in done:
                stack.pop()
                continue
            waiting = [producer[i] for i in nodes[index].inputs if i in producer and producer[i] not in done]
            if waiting:
                stack += waiting
            else:
                done.add(index)
                out.append(nodes[index])
                stack.pop()
    return tuple(out)

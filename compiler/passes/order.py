"""Put nodes back in an order in which every value is defined before it is read, changing as little as possible."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Node, VerifyError


def in_order(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """A stable topological order: a node moves only as far as its operands ask. Raises VerifyError on a cycle."""
    producer = {v.name: i for i, n in enumerate(nodes) for v in n.outputs}
    done: set[int] = set()
    open_: set[int] = set()  # nodes that wait for their operands
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
                open_.add(index)
                if not open_.isdisjoint(waiting):
                    raise VerifyError(f"{nodes[index].op} ({nodes[index].where}) reads what is computed from it")
                stack += waiting
            else:
                done.add(index)
                out.append(nodes[index])
                stack.pop()
    return tuple(out)

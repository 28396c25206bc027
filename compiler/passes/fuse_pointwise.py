"""Fuse pointwise: neighbouring element-by-element nodes of one shape become one ``fused`` node, one kernel.

A node's level is the number of other ops on the longest way to it. Pointwise nodes of equal level and shape that are
connected, or read pieces of one split, can run together: a way from one to the other through a foreign op would have
raised the level. Operands are full (the shape itself), rows (its trailing axes, such as a bias) or scalars.
"""

from __future__ import annotations

from ..ir import Graph, Node, T, Type
from ..ir.graph import ABSENT, Attr
from ..ir.types import B
from ..regions import FUSIBLE
from .order import in_order


def fuse_pointwise(graph: Graph) -> Graph:
    types = graph.types()
    producer = {v.name: n for n in graph.nodes for v in n.outputs}
    levels = _levels(graph, types, producer)
    groups = _groups(graph, types, producer, levels)
    if not groups:
        return graph
    member = {id(n): g for g in groups for n in g}
    read_outside = {graph.output, *graph.next_state}
    for node in graph.nodes:
        for name in node.inputs:
            if name in producer and member.get(id(producer[name])) is not member.get(id(node)):
                read_outside.add(name)
    nodes: list[Node] = []
    for node in graph.nodes:
        group = member.get(id(node))
        if group is None:
            nodes.append(node)
        elif group[0] is node and not read_outside.isdisjoint(v.name for n in group for v in n.outputs):
            nodes.append(_fused(group, read_outside))  # a group that nobody reads is dead
    return graph.update(nodes=in_order(nodes))


def _levels(graph: Graph, types: dict[str, Type], producer: dict[str, Node]) -> dict[int, int]:
    levels: dict[int, int] = {}
    for node in graph.nodes:
        mine = _shape(node, types)
        before = [producer[i] for i in node.inputs if i in producer]
        levels[id(node)] = max(
            (levels[id(p)] + (mine is None or _shape(p, types) != mine) for p in before),
            default=0,
        )
    return levels


def _shape(node: Node, types: dict[str, Type]) -> tuple[object, ...] | None:
    """The shape a fusible node works on; None for any other node."""
    if node.op not in FUSIBLE:
        return None
    out = node.outputs[0].type
    if B not in out.shape or out.dtype != "f" or (node.op == "mul_scalar" and node.attr("c") == 0.0):
        return None  # a product with zero would become a bare number, without a shape
    trail = tuple(d for d in out.shape if d not in (B, T))
    for name in node.inputs:
        if name == ABSENT or types[name].shape not in (out.shape, trail, ()):
            return None
    return out.shape


def _groups(
    graph: Graph, types: dict[str, Type], producer: dict[str, Node], levels: dict[int, int]
) -> list[list[Node]]:
    """Connected fusible nodes of equal level and shape, at least two together, in the order of the graph."""
    parent: dict[int, int] = {id(n): id(n) for n in graph.nodes}

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    def join(a: Node, b: Node) -> None:
        parent[root(id(a))] = root(id(b))

    by_split: dict[tuple[object, ...], Node] = {}
    for node in graph.nodes:
        shape = _shape(node, types)
        if shape is None:
            continue
        for name in node.inputs:
            p = producer.get(name)
            if p is None:
                continue
            if _shape(p, types) == shape and levels[id(p)] == levels[id(node)]:
                join(node, p)
            elif p.op == "split":
                # Of one part only: experts stay apart, so that one does not wait for another.
                key = (id(p), levels[id(node)], shape, node.where)
                join(node, by_split.setdefault(key, node))
    found: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if _shape(node, types) is not None:
            found.setdefault(root(id(node)), []).append(node)
    return [g for g in found.values() if len(g) > 1]


def _fused(group: list[Node], read_outside: set[str]) -> Node:
    """One node for a group. Its body names operands a0, a1 … and statements t0, t1 …, so equal is equal text."""
    local: dict[str, str] = {}
    operands: list[str] = []
    body: list[Attr] = []
    results: list[Attr] = []
    outputs = []
    for index, node in enumerate(group):
        args: list[Attr] = []
        for name in node.inputs:
            if name not in local:
                local[name] = f"a{len(operands)}"
                operands.append(name)
            args.append(local[name])
        constants = [v for k, v in node.attrs if k == "c"]
        body.append((node.op, *args, *constants))
        local[node.outputs[0].name] = f"t{index}"
        if node.outputs[0].name in read_outside:
            results.append(f"t{index}")
            outputs.append(node.outputs[0])
    attrs: tuple[tuple[str, Attr], ...] = (("body", tuple(body)), ("results", tuple(results)))
    return Node("fused", tuple(operands), tuple(outputs), attrs, group[0].where)

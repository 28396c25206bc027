"""Merge parallel linears: products of one input with several weights become one product with the weights stacked.

The gates of one input, the q/k/v of one context and, across the experts of a column, everything that reads the shared
normalised input: fewer, larger GEMMs. Only products with parameters as weights are merged (they are there from the
start), and biased ones apart from unbiased ones. The merged result is split again; ``split`` costs nothing forward and
one concatenation backward.
"""

from __future__ import annotations

from ..ir import Graph, Node, Value
from ..ir.types import Type
from .rewrite import renamed

Key = tuple[str, bool]


def merge_linears(graph: Graph) -> Graph:
    groups: dict[Key, list[Node]] = {}
    for node in graph.nodes:
        if (
            node.op == "linear"
            and all(i.startswith("@") for i in node.inputs[1:])
            and not node.inputs[0].startswith("@")
        ):
            groups.setdefault((node.inputs[0], len(node.inputs) == 3), []).append(node)
    merged = {id(n): group for group in groups.values() if len(group) > 1 for n in group}
    if not merged:
        return graph
    types, nodes, count = graph.types(), [], 0
    for node in graph.nodes:
        group = merged.get(id(node))
        if group is None:
            nodes.append(node)
        elif group[0] is node:
            nodes += _merge(group, types, count)
            count += 1
    return renamed(graph, nodes, {})


def _merge(group: list[Node], types: dict[str, Type], count: int) -> list[Node]:
    where = _common_where(group)
    widths = tuple(int(types[n.inputs[1]].shape[0]) for n in group)
    total, x = sum(widths), group[0].inputs[0]
    weight = Value(f"%packed_w{count}", Type("f", (total, types[x].width)))
    packs = [Node("pack", tuple(n.inputs[1] for n in group), (weight,), where=where)]
    operands = [x, weight.name]
    if len(group[0].inputs) == 3:
        bias = Value(f"%packed_b{count}", Type("f", (total,)))
        packs.append(Node("pack", tuple(n.inputs[2] for n in group), (bias,), where=where))
        operands.append(bias.name)
    product = Value(f"%packed{count}", Type("f", (*types[x].shape[:-1], total)))
    outs = tuple(n.outputs[0] for n in group)
    return [
        *packs,
        Node("linear", tuple(operands), (product,), where=where),
        Node("split", (product.name,), outs, (("sizes", widths),), where),
    ]


def _common_where(group: list[Node]) -> str:
    places = dict.fromkeys(n.where for n in group)
    return " + ".join(p for p in places if p)

"""Name regions: give each ``fused`` node the name of its kernel, which equal regions share."""

from __future__ import annotations

from ..ir import Graph
from ..regions import region_of


def name_regions(graph: Graph) -> Graph:
    nodes = tuple(n.with_attrs(name=region_of(n, graph).name) if n.op == "fused" else n for n in graph.nodes)
    return graph.update(nodes=nodes) if nodes != graph.nodes else graph

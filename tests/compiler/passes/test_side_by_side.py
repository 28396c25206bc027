"""Lanes: what one expert alone computes stands together, and reads nothing of another."""

from __future__ import annotations

import pytest

from cortexc.cells import AxonCellConfig, XLCellConfig
from cortexc.compiler.ir import Graph
from cortexc.compiler.library.stack import lower
from cortexc.compiler.passes.side_by_side import side_by_side
from cortexc.compiler.pipeline import passes
from cortexc.config import ColumnScaffoldConfig, CortexStackConfig
from cortexc.cortex_dsl import build_column_auto_config, parse, resolve

from .support import applied

INNER = build_column_auto_config(d_hidden=16, cells=[AxonCellConfig(), XLCellConfig()])
NESTED = CortexStackConfig(d_hidden=16, scaffolds=(ColumnScaffoldConfig(experts=(INNER, AxonCellConfig())),))


def column(pattern: str | CortexStackConfig, mode: str) -> Graph:
    """The one layer of a pattern, as it is before lanes."""
    spec = resolve(parse(pattern, d_hidden=16) if isinstance(pattern, str) else pattern)
    (graph,) = lower(spec, mode).layers.values()
    for step in passes("triton"):
        if step is side_by_side:
            return graph
        graph = step(graph)
    raise AssertionError("side_by_side is no pass of triton")


def lanes_of(graph: Graph) -> dict[int, list]:
    """The nodes of every lane, in order."""
    found: dict[int, list] = {}
    current = None
    for node in graph.nodes:
        if node.op == "enter_lane":
            current = int(node.attr("lane"))
            assert current not in found
            found[current] = []
        elif node.op == "leave_lanes":
            current = None
        elif current is not None:
            found[current].append(node)
    assert current is None
    return found


@pytest.mark.parametrize("mode", ["sequence", "step"])
@pytest.mark.parametrize(("pattern", "lanes"), [("AXMS", 5), ("AX", 3), ("A@adapter(bottleneck=4) S", 3), (NESTED, 3)])
def test_a_lane_for_every_expert_and_one_for_the_router(pattern: str, lanes: int, mode: str) -> None:
    before = column(pattern, mode)
    after = applied(side_by_side, before)
    found = lanes_of(after)
    assert sorted(found) == list(range(lanes))
    assert all(found.values())
    kept = [n.op for n in after.nodes if n.op not in ("enter_lane", "leave_lanes")]
    assert sorted(kept) == sorted(n.op for n in before.nodes)


@pytest.mark.parametrize("mode", ["sequence", "step"])
def test_a_lane_reads_its_own_values_and_what_it_was_given(mode: str) -> None:
    after = side_by_side(column("AXMS", mode))
    given = {v.name for n in after.nodes if n.op == "enter_lane" for v in n.outputs}
    home = {v.name: lane for lane, nodes in lanes_of(after).items() for n in nodes for v in n.outputs}
    left = {v.name for n in after.nodes if n.op == "leave_lanes" for v in n.outputs}
    for lane, nodes in lanes_of(after).items():
        for n in nodes:
            for name in n.inputs:
                if name.startswith("%") and name not in ("%x", "%resets"):
                    assert home.get(name) == lane or (name in given and name.endswith(f".lane{lane}")), n
    outside = [n for n in after.nodes if all(v.name not in home for v in n.outputs)]
    for n in outside:
        assert n.op == "leave_lanes" or home.keys().isdisjoint(n.inputs)
    assert home.keys().isdisjoint((after.output, *after.next_state))
    assert left >= {s for s in after.next_state if s.startswith("%")}


@pytest.mark.parametrize("pattern", ["A", "M", "L"])
def test_one_expert_has_no_lanes(pattern: str) -> None:
    graph = column(pattern, "sequence")
    assert side_by_side(graph) is graph

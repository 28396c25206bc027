"""Fuse pointwise: neighbours of one shape become one region, and never a cycle."""

from __future__ import annotations

from hypothesis import given, settings

from cortexc.compiler.ir import Graph, Init, Node, Param, State, Type, Value
from cortexc.compiler.passes.dead_code import dead_code
from cortexc.compiler.passes.fuse_pointwise import fuse_pointwise
from cortexc.compiler.passes.name_regions import name_regions
from cortexc.compiler.regions import FUSIBLE, region_of

from ..ir.graphs import graphs
from .support import applied, both, graph, node, row

WEIGHT = (Param("w", Type("f", (4, 4)), Init("linear", (4.0,))), Param("b", Type("f", (4,)), Init("linear", (4.0,))))


def test_neighbours_become_one(golden) -> None:
    before = graph(
        node("sigmoid", "%x", "%a"),
        node("sub", "%a @b", "%c"),
        node("mul_scalar", "%c", "%y", c=0.5),
        out="%y",
        params=WEIGHT[1:],
    )
    golden(both(before, applied(fuse_pointwise, before)))


def test_a_way_through_a_product_parts_them(golden) -> None:
    """`%a` and `%y` are connected, and between them stands a product which needs the one and feeds the other."""
    before = graph(
        node("tanh", "%x", "%a"),
        node("neg", "%a", "%n"),
        node("linear", "%n @w", "%p"),
        node("mul", "%a %p", "%m"),
        node("add", "%m %a", "%y"),
        out="%y",
        params=WEIGHT[:1],
    )
    golden(both(before, applied(fuse_pointwise, before)))


def test_pieces_of_a_split_run_together_within_one_part(golden) -> None:
    before = graph(
        node("cat", "%x %x %x", "%w:12"),
        node("split", "%w", "%a %b %c", sizes=(4, 4, 4)),
        node("tanh", "%a", "%d", "A at 1:1"),
        node("silu", "%b", "%e", "A at 1:1"),
        node("neg", "%c", "%f", "X at 1:2"),
        node("cat", "%d %e %f", "%y:12"),
        out="%y",
    )
    golden(both(before, applied(fuse_pointwise, before)))


def test_one_alone_is_left() -> None:
    before = graph(node("tanh", "%x", "%a"), node("linear", "%a @w", "%y"), out="%y", params=WEIGHT[:1])
    assert applied(fuse_pointwise, before) is before


def test_accumulators_stay_out() -> None:
    """They are float32 where the model is narrower, and a region has one dtype."""
    before = graph(
        node("tanh", "%x", "%y"),
        *(
            node("mul_scalar", i, o, c=0.5).update(outputs=(Value(o, row(dtype="acc")),))
            for i, o in (("$s", "%a"), ("%a", "%b"))
        ),
        out="%y",
        states=(State(("s",), row(dtype="acc")),),
        following="%b",
    )
    assert applied(fuse_pointwise, before) is before


def test_a_product_with_zero_keeps_its_shape() -> None:
    """`x * 0` would be a bare number in the equations of a region."""
    before = graph(node("mul_scalar", "%x", "%a", c=0.0), node("add", "%a @b", "%y"), out="%y", params=WEIGHT[1:])
    assert applied(fuse_pointwise, before) is before


def test_equal_regions_share_a_name() -> None:
    def gate(i: str) -> list[Node]:
        return [node("sigmoid", f"%l{i}", f"%a{i}"), node("mul", f"%a{i} %l{i}", f"%m{i}")]

    before = graph(
        node("linear", "%x @w", "%l0"),
        *gate("0"),
        node("linear", "%m0 @w", "%l1"),
        *gate("1"),
        node("linear", "%m1 @w", "%l2"),
        node("tanh", "%l2", "%t"),
        node("mul", "%t %l2", "%y"),
        out="%y",
        params=WEIGHT[:1],
    )
    after = applied(name_regions, applied(fuse_pointwise, before))
    names = [n.attr("name") for n in after.nodes if n.op == "fused"]
    assert len(names) == 3 and names[0] == names[1] != names[2]
    assert applied(name_regions, after) is after


@given(graphs(most=24))
@settings(max_examples=100, deadline=None, report_multiple_bugs=False)
def test_never_a_cycle_and_nothing_lost(before: Graph) -> None:
    """The result is in an order in which everything is defined before it is read, whatever the graph."""
    before = dead_code(before)
    after = applied(fuse_pointwise, before)
    inside = [s for n in after.nodes if n.op == "fused" for s in n.attr("body")]
    outside = [n.op for n in after.nodes if n.op != "fused"]
    assert sorted([s[0] for s in inside] + outside) == sorted(n.op for n in before.nodes)
    assert {s[0] for s in inside} <= set(FUSIBLE)
    for n in after.nodes:
        if n.op == "fused":
            assert len(n.attr("body")) > 1 and "full" in region_of(n, after).roles
    assert applied(fuse_pointwise, after) is after

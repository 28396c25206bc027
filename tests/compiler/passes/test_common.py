"""Common subexpressions: equal nodes are computed once."""

from __future__ import annotations

from cortexc.compiler.passes.common import common_subexpressions

from .support import applied, both, graph, node


def test_equal_nodes_are_one(golden) -> None:
    """Also nodes that are equal only after their operands were found equal."""
    before = graph(
        node("tanh", "%x", "%a", "A at 1:1"),
        node("tanh", "%x", "%b", "X at 1:2"),
        node("mul_scalar", "%a", "%c", c=2.0),
        node("mul_scalar", "%b", "%d", c=2.0),
        node("add", "%c %d", "%y"),
        out="%y",
    )
    golden(both(before, applied(common_subexpressions, before)))


def test_other_attributes_and_operands_stay_apart() -> None:
    before = graph(
        node("mul_scalar", "%x", "%a", c=2.0),
        node("mul_scalar", "%x", "%b", c=3.0),
        node("sub", "%a %b", "%c"),
        node("sub", "%b %a", "%d"),
        node("add", "%c %d", "%y"),
        out="%y",
    )
    assert applied(common_subexpressions, before) is before


def test_output_and_next_state_follow() -> None:
    before = graph(node("tanh", "%x", "%a"), node("tanh", "%x", "%b"), out="%b")
    after = applied(common_subexpressions, before)
    assert after.output == "%a" and len(after.nodes) == 1

"""Order: every value before its readers, and nothing moves without need."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortexc.compiler.ir import Graph, Node, VerifyError, verify
from cortexc.compiler.passes.order import in_order

from ..ir.graphs import graphs
from .support import node


def test_what_is_in_order_stays() -> None:
    nodes = [node("tanh", "%x", "%a"), node("neg", "%x", "%b"), node("add", "%a %b", "%c"), node("neg", "%a", "%d")]
    assert in_order(nodes) == tuple(nodes)


def test_a_reader_waits_and_the_rest_keeps_its_order() -> None:
    a, b, c, d = (
        node("tanh", "%x", "%a"),
        node("neg", "%d", "%b"),
        node("neg", "%x", "%c"),
        node("silu", "%x", "%d"),
    )
    assert in_order([a, b, c, d]) == (a, d, b, c)


def test_a_cycle_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(VerifyError, match=r"add \(A at 1:1\) reads what is computed from it"):
        in_order([node("tanh", "%c", "%b"), node("neg", "%x", "%a"), node("add", "%a %b", "%c", "A at 1:1")])


def test_deep_graphs_do_not_overflow() -> None:
    chain = [node("neg", f"%{i}", f"%{i + 1}") for i in range(5000)]
    assert in_order(chain[::-1]) == tuple(chain)


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None, report_multiple_bugs=False)
def test_any_order_is_mended(graph: Graph, random: object) -> None:
    assert in_order(graph.nodes) == graph.nodes
    mixed: list[Node] = list(graph.nodes)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    verify(graph.update(nodes=in_order(mixed)))
    assert in_order(in_order(mixed)) == in_order(mixed)

"""Dead code: only what reaches the output or the next state is computed."""

from __future__ import annotations

from cortexc.compiler.ir import State
from cortexc.compiler.passes.dead_code import dead_code

from .support import applied, both, graph, node, row


def test_unread_chains_go(golden) -> None:
    """What feeds the next state stays, and so does a split of which one piece is read."""
    before = graph(
        node("tanh", "%x", "%a"),
        node("neg", "%a", "%b"),
        node("silu", "%b", "%c"),
        node("split", "%a", "%d:2 %e:2", sizes=(2, 2)),
        node("cat", "%e %e", "%y"),
        node("neg", "%x", "%s"),
        out="%y",
        states=(State(("s",), row()),),
        following="%s",
    )
    golden(both(before, applied(dead_code, before)))


def test_all_alive_is_the_same_graph() -> None:
    before = graph(node("tanh", "%x", "%a"), node("add", "%a %x", "%y"), out="%y")
    assert applied(dead_code, before) is before


def test_an_output_that_is_the_input_needs_nothing() -> None:
    before = graph(node("tanh", "%x", "%a"), out="%x")
    assert applied(dead_code, before).nodes == ()

"""Merge linears: one product for the weights that read one input."""

from __future__ import annotations

import pytest

from cortexc.compiler.ir import B, Graph, Init, Node, Param, State, Type, Value
from cortexc.compiler.passes.merge_linears import merge_linears

from ..ir.graphs import MODES, program
from .support import applied, both, graph, node, row


def weights(*shapes: tuple[int, ...]) -> tuple[Param, ...]:
    return tuple(Param(f"w{i}", Type("f", s), Init("linear", (4.0,))) for i, s in enumerate(shapes))


def test_gates_of_one_input_merge(golden) -> None:
    before = graph(
        node("linear", "%x @w0", "%a", "A at 1:1"),
        node("tanh", "%x", "%h"),
        node("linear", "%h @w1", "%b", "A at 1:1"),
        node("linear", "%x @w2", "%c:2", "X at 1:2"),
        node("add", "%a %b", "%y"),
        node("cat", "%y %c", "%z:6"),
        out="%z",
        params=weights((4, 4), (4, 4), (2, 4)),
    )
    golden(both(before, applied(merge_linears, before)))


def test_biased_and_unbiased_stay_apart(golden) -> None:
    before = graph(
        node("linear", "%x @w0 @w2", "%a"),
        node("linear", "%x @w1", "%b"),
        node("linear", "%x @w1 @w2", "%c"),
        node("lerp", "%a %b %c", "%y"),
        out="%y",
        params=weights((4, 4), (4, 4), (4,)),
    )
    golden(both(before, applied(merge_linears, before)))


def test_computed_weights_and_parameters_as_inputs_stay() -> None:
    before = graph(
        Node("view", ("@w0",), (Value("%w", Type("f", (4, 4))),), (("shape", (4, 4)),)),
        node("linear", "%x %w", "%a"),
        node("linear", "%x @w1", "%b"),
        node("add", "%a %b", "%y"),
        out="%y",
        params=weights((4, 4), (4, 4)),
    )
    assert applied(merge_linears, before) is before
    keys = [Node("linear", ("@w0", "@w1"), (Value(name, Type("f", (4, 4))),)) for name in ("%k", "%l")]
    twice = before.update(nodes=(*keys, *before.nodes))
    assert applied(merge_linears, twice) is twice


def test_an_accumulator_as_input_gives_the_compute_dtype() -> None:
    before = graph(
        node("linear", "$s @w0", "%a"),
        node("linear", "$s @w1", "%b"),
        node("add", "%a %b", "%y"),
        out="%y",
        params=weights((4, 4), (4, 4)),
        states=(State(("s",), row(dtype="acc")),),
        following="$s",
    )
    after = applied(merge_linears, before)
    assert [n.op for n in after.nodes] == ["pack", "linear", "split", "add"]
    assert after.types()["%packed0"] == Type("f", (B, 8))


def packs(g: Graph) -> list[tuple[str, ...]]:
    return [n.inputs for n in g.nodes if n.op == "pack"]


@pytest.mark.parametrize("mode", MODES)
def test_in_a_column_the_experts_share_the_product_of_their_input(mode: str) -> None:
    """The normalised input of AXMS is read by the gates of all four experts and by the mixer: one product."""
    (before,) = program("AXMS x2", mode).layers.values()
    after = applied(merge_linears, before)
    shared = [p for p in packs(after) if "@e_mixer.Wq.weight" in p]
    assert len(shared) == 1
    assert {name.split(".")[1] for name in shared[0] if name.startswith("@experts")} == {"0", "1", "2", "3"}
    assert ("@experts.2.core.igate.weight", "@experts.2.core.fgate.weight") in packs(after)
    count = {g: sum(n.op == "linear" for n in g.nodes) for g in (before, after)}
    assert count[after] <= 0.6 * count[before]
    assert applied(merge_linears, after) is after

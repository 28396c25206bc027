"""The verifier accepts what the compiler makes and refuses each kind of ill-formed graph, by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cortexc.compiler.ir import B, Graph, Init, Node, Param, State, Type, Value, VerifyError, verify
from cortexc.compiler.ops import ShapeError, shape_rules

from .graphs import MODES, PATTERNS, planned, program

RULES = shape_rules()
ROW = Type("f", (B, 4))


def good() -> Graph:
    return Graph(
        "g",
        (Value("%x", ROW),),
        (Param("w", Type("f", (4, 4)), Init("linear", (4.0,))),),
        (State(("s",), Type("acc", (B, 4))),),
        (
            Node("linear", ("%x", "@w"), (Value("%y", ROW),), where="A at 1:1"),
            Node("add", ("%y", "$s"), (Value("%z", ROW),)),
            Node("mul_scalar", ("$s",), (Value("%s", Type("acc", (B, 4))),), (("c", 0.5),)),
        ),
        "%z",
        ("%s",),
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_accepts_what_the_compiler_makes(pattern: str, mode: str) -> None:
    for made in (program(pattern, mode), program(pattern, mode, plain=True), planned(pattern, mode, "triton")):
        for graph in made.graphs():
            assert verify(graph, RULES) is graph


def test_accepts_the_good_one() -> None:
    graph = good()
    assert verify(graph, RULES) is graph


def nodes(index: int, **changes: object) -> Graph:
    graph = good()
    return replace(graph, nodes=tuple(n.update(**changes) if i == index else n for i, n in enumerate(graph.nodes)))


ILL = {
    "a name defined twice": (nodes(1, outputs=(Value("%y", ROW),)), "node add defines %y a second time"),
    "an input defined twice": (replace(good(), inputs=good().inputs * 2), "input defines %x a second time"),
    "a parameter defined twice": (replace(good(), params=good().params * 2), "parameter defines @w"),
    "a state defined twice": (replace(good(), states=good().states * 2), r"state defines \$s a second time"),
    "a read of nothing": (nodes(0, inputs=("%gone", "@w")), r"linear \(A at 1:1\) reads %gone before"),
    "a read before": (replace(good(), nodes=good().nodes[::-1]), "add .* reads %y before it is defined"),
    "a read of itself": (nodes(0, inputs=("%y", "@w")), "linear .* reads %y before it is defined"),
    "an unknown op": (nodes(0, op="convolve"), "unknown op convolve"),
    "a wrong shape": (nodes(0, outputs=(Value("%y", Type("f", (B, 5))),)), r"gives f\[B,4\], not f\[B,5\]"),
    "a wrong dtype": (nodes(0, outputs=(Value("%y", Type("acc", (B, 4))),)), r"gives f\[B,4\], not acc\[B,4\]"),
    "too many results": (nodes(1, outputs=(Value("%z", ROW), Value("%q", ROW))), r"gives f\[B,4\], not"),
    "no output": (replace(good(), output="%gone"), "returned value %gone is never defined"),
    "no next value": (replace(good(), next_state=()), "1 state slots, 0 next values"),
    "an undefined next value": (replace(good(), next_state=("%gone",)), "returned value %gone"),
    "a next value of another shape": (replace(good(), next_state=("@w",)), r"\$s is acc\[B,4\], its next value @w"),
    "a next value of another dtype": (replace(good(), next_state=("%z",)), r"\$s is acc\[B,4\], .*%z is f\[B,4\]"),
}


@pytest.mark.parametrize("kind", ILL)
def test_refuses(kind: str) -> None:
    graph, message = ILL[kind]
    with pytest.raises(VerifyError, match=message):
        verify(graph, RULES)


def test_operands_that_do_not_fit_are_refused_by_the_op() -> None:
    graph = replace(good(), params=(Param("w", Type("f", (4, 9)), Init("linear", (9.0,))),))
    with pytest.raises(ShapeError, match=r"linear: weight f\[4,9\] does not take an input of width 4"):
        verify(graph, RULES)


def test_an_absent_operand_needs_no_definition() -> None:
    graph = replace(nodes(1, inputs=("%y", "-")), nodes=good().nodes[:1], output="%y", next_state=("$s",))
    optional = Node("segments", ("-",), (Value("%n", Type("i64", (B,), optional=True)),))
    verify(replace(graph, nodes=(*graph.nodes, optional)))


def test_without_rules_only_names_are_checked() -> None:
    verify(nodes(0, op="convolve"))

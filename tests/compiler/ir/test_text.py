"""The printer and the parser are inverses, for graphs, attributes and types."""

from __future__ import annotations

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from cortexc.compiler.ir import B, Graph, Init, Node, Param, State, T, Type, Value, parse_graph, print_graph
from cortexc.compiler.ir.types import DTYPES, numel, parse_type

from .graphs import MODES, PATTERNS, graphs, planned, program


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_real_graphs_come_back(pattern: str, mode: str) -> None:
    found = list(program(pattern, mode).graphs())
    found += program(pattern, mode, plain=True).graphs()
    found += [g for backend in ("eager", "triton") for g in planned(pattern, mode, backend).graphs()]
    assert len(found) >= 8
    for graph in found:
        assert parse_graph(print_graph(graph)) == graph


@given(graphs())
@settings(max_examples=50, deadline=None, report_multiple_bugs=False)
def test_random_graphs_come_back(graph: Graph) -> None:
    assert parse_graph(print_graph(graph)) == graph


def attrs(depth: int = 2) -> st.SearchStrategy[object]:
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    return st.recursive(plain, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@given(st.lists(attrs(), max_size=4), st.sampled_from(["", "A at 1:1", "X(mem_len=5) {odd} at 2:3", 'M("a, b")']))
@settings(max_examples=200, deadline=None, report_multiple_bugs=False)
def test_any_attribute_comes_back(values: list[object], where: str) -> None:
    """Also texts with quotes, braces, commas, `=`, line breaks and marks of comments."""
    named = tuple((f"k{i}", v) for i, v in enumerate(values))
    node = Node("alias", ("%x",), (Value("%y", Type("f", (B,))),), named, where)
    graph = Graph("g", (Value("%x", Type("f", (B,))),), (), (), (node,), "%y", ())
    read = parse_graph(print_graph(graph))
    assert read == graph
    assert [list(map(type, dict(n.attrs).values())) for n in read.nodes] == [list(map(type, values))]  # 1 is not True


def test_every_declaration_comes_back() -> None:
    graph = Graph(
        "layer_a",
        (Value("%x", Type("f", (B, T, 4))), Value("%resets", Type("bool", (B, T), optional=True))),
        (
            Param("a.weight", Type("f", (2, 4)), Init("linear", (4.0,))),
            Param("a.scale", Type("f", ()), Init("uniform", (-0.001, 1e-5))),
            Param("order", Type("i64", (4,)), Init("srht_order", (7.0, 1.0)), trainable=False),
        ),
        (State(("A", "n"), Type("i64", (B,)), 3), State(("A", "c"), Type("acc", (B, 4)), 0)),
        (Node("pair", ("%x", "-"), (Value("%a", Type("f", (B, T + 5, 4))), Value("%b", Type("i64", (B,)))), ()),),
        "%a",
        ("%b", "$A.c"),
    )
    assert parse_graph(print_graph(graph)) == graph


@given(
    st.sampled_from(list(DTYPES)),
    st.lists(st.integers(0, 999) | st.sampled_from([B, T, T + 1, 2 * T, B * T]), max_size=4),
    st.booleans(),
)
@settings(max_examples=100, deadline=None, report_multiple_bugs=False)
def test_types_come_back(dtype: str, shape: list[int | sympy.Expr], optional: bool) -> None:
    made = Type(dtype, tuple(shape), optional)
    assert parse_type(str(made)) == made


def test_a_type_says_what_it_is() -> None:
    t = Type("acc", (B, T, 3, 5))
    assert str(t) == "acc[B,T,3,5]" and str(Type("bool", (B,), optional=True)) == "bool[B]?"
    assert (t.rank, t.width, t.lead) == (4, 5, (B, T))
    assert t.with_width(7).shape == (B, T, 3, 7) and t.with_width(7).dtype == "acc"
    assert numel(t.shape) == 15 * B * T and numel(()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("  %y : f[B] <- relu(%x)", "line 3 .*no statement"),
        ("  %y : half[B] = relu(%x)", "line 3 .*unknown dtype 'half'.*f, acc, i64, bool"),
        ("  param @w : f[4] = linear(four)", "line 3 .*four"),
        ("  state $s : acc[B] = zero", "line 3 .*zero"),
        ("  %y : f[B] = cat(%x) {sizes=[1, 2}", "line 3"),
    ],
)
def test_a_line_that_is_no_statement_is_named(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_graph(f"graph g\n  in %x : f[B]\n{line}\n  out %x\n")

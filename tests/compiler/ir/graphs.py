"""Graphs to test with: those of real patterns, and random small ones."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from cortexc.compiler.ir import Graph, Program
from cortexc.compiler.library.builder import Builder, Ref
from cortexc.compiler.library.stack import lower
from cortexc.compiler.pipeline import optimise
from cortexc.cortex_dsl import parse, resolve

PATTERNS = ("A", "X", "M", "S", "AXMS x2", "A S / X M^")
MODES = ("sequence", "step")
WIDTH = 16


@cache
def program(pattern: str, mode: str, plain: bool = False) -> Program:
    return lower(resolve(parse(pattern, d_hidden=WIDTH)), mode, plain=plain)


@cache
def planned(pattern: str, mode: str, backend: str) -> Program:
    return optimise(program(pattern, mode, backend == "reference"), backend)


NUMBERS = st.sampled_from([0.0, 1.0, 2.0, -0.5])
UNARY = ("silu", "sigmoid", "tanh", "neg", "alias")
BINARY = ("add", "sub", "mul")
SCALAR = ("add_scalar", "mul_scalar", "div_scalar")
WIDTHS = (4, 8)


@st.composite
def graphs(draw: st.DrawFn, most: int = 14) -> Graph:
    """A random well-formed graph of up to `most` nodes: products, norms, splits and pointwise nodes, with repeats,
    identities, dead values, and in step mode a carried accumulator."""
    b = Builder(draw(st.sampled_from(MODES)), 8)
    carried = b.state("s", (8,)) if b.step else None
    values: list[Ref] = [b.x]
    for index in range(draw(st.integers(1, most))):
        values += _more(draw, b.at(where=draw(st.sampled_from(["A at 1:1", "X at 1:2"]))), values, index)
    if carried is not None:
        b.carry(carried, draw(st.sampled_from([carried * 1.0, carried * 0.5 * 2.0, carried * carried])))
        wide = [v for v in values if v.width == 8]
        values.append(draw(st.sampled_from(wide)) + carried)
    return b.finish("random", draw(st.sampled_from(values)))


def _more(draw: st.DrawFn, b: Builder, values: list[Ref], index: int) -> list[Ref]:
    x = draw(st.sampled_from(values))
    like = st.sampled_from([v for v in values if v.type == x.type])
    kind = draw(st.sampled_from(["unary", "binary", "lerp", "scalar", "row", "one", "linear", "norm", "split", "cat"]))
    if kind == "unary":
        return [b.op(draw(st.sampled_from(UNARY)), x)]
    if kind == "binary":
        return [b.op(draw(st.sampled_from(BINARY)), x, draw(like))]
    if kind == "lerp":
        return [b.op("lerp", x, draw(like), draw(like))]
    if kind == "scalar":
        op = draw(st.sampled_from(SCALAR))
        return [b.op(op, x, c=draw(NUMBERS) or (0.0 if op != "div_scalar" else 1.0))]
    if kind == "row":
        return [b.op(draw(st.sampled_from(BINARY)), x, b.param(f"row{index}", (x.width,), "normal", 1))]
    if kind == "one":
        return [b.op(draw(st.sampled_from(BINARY)), x, b.param(f"one{index}", (), "normal", 1))]
    if kind == "linear":
        return [b.linear(f"linear{index}", x, draw(st.sampled_from(WIDTHS)), bias=draw(st.booleans()))]
    if kind == "norm":
        return [b.layer_norm(f"norm{index}", x)]
    if kind == "split":
        sizes = draw(st.sampled_from([(x.width,), (x.width // 2, x.width // 2)])) if x.width == 8 else (x.width,)
        return list(b.ops("split", x, sizes=sizes))
    other = draw(like)
    return [b.op("cat", x, other)] if x.width == 4 else [b.op("add", x, other)]

"""No pass changes what a graph computes, nor the graph it was given; and each has an end."""

from __future__ import annotations

from functools import reduce

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cortexc
from cortexc.compiler.ir import Graph
from cortexc.compiler.passes.common import common_subexpressions
from cortexc.compiler.passes.dead_code import dead_code
from cortexc.compiler.passes.fold import fold
from cortexc.compiler.passes.fuse_pointwise import fuse_pointwise
from cortexc.compiler.passes.merge_linears import merge_linears
from cortexc.compiler.passes.name_regions import name_regions
from cortexc.compiler.passes.side_by_side import side_by_side
from cortexc.compiler.pipeline import BACKENDS, passes

from ..ir.graphs import MODES, PATTERNS, WIDTH, graphs, program
from .support import Pass, applied, evaluate

PASSES: dict[str, Pass] = {
    p.__name__: p
    for p in (
        fold,
        common_subexpressions,
        merge_linears,
        dead_code,
        fuse_pointwise,
        name_regions,
        side_by_side,
    )
}


def same(before: Graph, after: Graph) -> None:
    for a, b in zip(evaluate(before), evaluate(after), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11, equal_nan=True)


@pytest.mark.parametrize("name", PASSES)
def test_one_pass_keeps_the_numbers(name: str) -> None:
    @given(graphs())
    @settings(max_examples=60, deadline=None, report_multiple_bugs=False)
    def check(before: Graph) -> None:
        same(before, applied(PASSES[name], before))

    check()


@given(graphs(most=20), st.lists(st.sampled_from(list(PASSES.values())), max_size=6))
@settings(max_examples=60, deadline=None, report_multiple_bugs=False)
def test_passes_in_any_order_keep_the_numbers(before: Graph, steps: list[Pass]) -> None:
    same(before, reduce(lambda g, step: applied(step, g), steps, before))


@given(graphs())
@settings(max_examples=60, deadline=None, report_multiple_bugs=False)
def test_the_pipeline_keeps_the_numbers_and_does_not_add_work(before: Graph) -> None:
    after = reduce(lambda g, step: applied(step, g), passes("triton"), before)
    same(before, after)
    assert sum(n.op == "linear" for n in after.nodes) <= sum(n.op == "linear" for n in before.nodes)


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_real_graphs_are_left_as_they_are_and_settle(pattern: str, mode: str, name: str) -> None:
    """A pass that has nothing left to do gives back the same object."""
    for before in program(pattern, mode).graphs():
        after = before
        for _ in range(4):
            after = applied(PASSES[name], after)
        assert PASSES[name](after) is after


@pytest.mark.parametrize("pattern", ["A S / X(mem_len=3) M^(chunk_size=4)", "AXMS"])
def test_real_patterns_compute_what_was_written(pattern: str) -> None:
    """eager (all passes) against reference (the graph as it was written), float64."""
    torch.manual_seed(0)
    stacks = [cortexc.compile(pattern, d_hidden=WIDTH, backend=b, dtype=torch.float64) for b in ("reference", "eager")]
    stacks[1].load_state_dict(stacks[0].state_dict())
    x = torch.randn(2, 9, WIDTH, dtype=torch.float64)
    (y, state), (z, other) = (stack(x) for stack in stacks)
    assert (y - z).abs().max() <= 1e-10
    for key, leaf in state.items(True, True):
        assert torch.allclose(leaf.double(), other[key].double(), atol=1e-10), key


def test_every_backend_has_its_passes() -> None:
    names = {b: [p.__name__.partition("[")[0] for p in passes(b)] for b in BACKENDS}
    own = ["fuse_pointwise", "name_regions", "side_by_side"]
    assert names["triton"] == [*names["eager"][:-1], *own, "choose_kernels"]
    assert names["reference"] == ["common_subexpressions", "dead_code", "choose_kernels"]
    assert names["auto"] == names["triton"] and names["inductor"] == names["eager"]

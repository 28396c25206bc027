"""What is special about the mLSTM: chunks, extreme gates, accumulators, one node for the compiler."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cortexc.kernels import mlstm, mlstm_reference, segment_ids

from ...tolerances import assert_close


def draw(steps: int, dtype: torch.dtype = torch.float64, rows: int = 2, heads: int = 2, width: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(steps)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    head, gate = (rows, steps, heads, width), (rows, steps, heads)
    state = leaf(rows, heads, width, width), leaf(rows, heads, width, 1), leaf(rows, heads, 1, 1)
    return [leaf(*head), leaf(*head), leaf(*head), leaf(*gate), leaf(*gate), *state]


def draw_segments(steps: int) -> Tensor | None:
    return segment_ids(torch.rand(2, steps, generator=torch.Generator().manual_seed(1)) < 0.1)


@pytest.mark.parametrize("steps", [63, 64, 65, 127, 128])
@pytest.mark.parametrize("chunk_size", [1, 3, 16, 64, 1000])
@pytest.mark.parametrize("reset", [False, True])
def test_chunk_size_changes_nothing(steps: int, chunk_size: int, reset: bool) -> None:
    drawn, segments = draw(steps), draw_segments(steps) if reset else None
    expected = mlstm_reference(*drawn, segments)
    for a, b in zip(mlstm(*drawn, segments, chunk_size=chunk_size), expected, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("i", "f"), [(60.0, 3.0), (-60.0, 3.0), (0.0, -1e4), (0.0, 1e4), (-1e30, 0.0), (30.0, -80.0)])
def test_extreme_gates(i: float, f: float, reset: bool) -> None:
    """Now and then a gate is extreme: no overflow, and no digits lost in the steps after it."""
    drawn, segments = draw(40, torch.float32), draw_segments(40) if reset else None
    drawn[3][:, 7::9], drawn[4][:, 5::9] = i, f
    expected = mlstm_reference(*(x.double() for x in drawn), segments)
    for a, b in zip(mlstm(*drawn, segments, chunk_size=16), expected, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("reset", [False, True])
def test_a_closed_gate_may_be_infinitely_closed(reset: bool) -> None:
    drawn, segments = draw(20), draw_segments(20) if reset else None
    drawn[3][:, 4], drawn[4][:, 9] = float("-inf"), float("-inf")
    for a, b in zip(mlstm(*drawn, segments, chunk_size=8), mlstm_reference(*drawn, segments), strict=True):
        assert_close(a, b)


def test_gradients_are_those_of_finite_differences() -> None:
    drawn = [x.requires_grad_() for x in draw(5, rows=1, heads=1, width=2)]
    segments = torch.tensor([[0, 0, 1, 1, 1]])
    assert torch.autograd.gradcheck(lambda *a: mlstm(*a, segments, chunk_size=2), drawn)


def test_accumulators_stay_float32_under_autocast() -> None:
    drawn = draw(70, torch.float32)
    plain = mlstm(*drawn)
    with torch.autocast("cpu", torch.bfloat16):
        for a, b in zip(mlstm(*drawn), plain, strict=True):
            assert a.dtype == torch.float32
            assert_close(a, b)


def count_nodes(steps: int) -> int:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    torch.compile(mlstm, fullgraph=True, backend=backend)(*draw(steps), None, 2)
    (graph,) = graphs
    return len(graph.graph.nodes)


def test_graph_does_not_grow_with_time() -> None:
    assert count_nodes(64) == count_nodes(512) < 20


def test_op_is_registered_correctly() -> None:
    drawn = [x.requires_grad_() for x in draw(9)]
    for segments in (None, draw_segments(9)):
        torch.library.opcheck(mlstm.op, (*drawn, segments, 4))


def test_queries_and_keys_may_be_one_tensor() -> None:
    torch._dynamo.reset()
    q, _, v, *rest = (x.requires_grad_() for x in draw(9))
    grads = []
    for function in (mlstm, torch.compile(mlstm, fullgraph=True, backend="aot_eager")):
        h, c, _, _ = function(q, q, v, *rest)
        grads.append(torch.autograd.grad(h.square().sum() + c.sum(), [q, v]))
    for a, b in zip(*grads, strict=True):
        assert_close(a, b)

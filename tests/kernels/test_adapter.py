"""Routed adapters against merged weights, row by row: values, gradients, and weights that an op applies itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cortexc.kernels import per_row, routed_adapter, routed_adapter_reference, routed_weight

from ..tolerances import assert_close

F64 = torch.float64
ROUTES = torch.tensor([2, 0, 2])
SLOTS, RANK, IN, OUT = 4, 2, 5, 6


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    generator = torch.Generator().manual_seed(seed + len(shape))
    return torch.randn(*shape, generator=generator, dtype=F64).to(dtype).requires_grad_()


def operands(middle: tuple[int, ...], heads: tuple[int, ...], dtype: torch.dtype = F64) -> tuple[Tensor, ...]:
    n = heads[0] if heads else 1
    return (
        draw(3, *middle, n * OUT, dtype=dtype),
        draw(3, *middle, n * IN, seed=1, dtype=dtype),
        draw(SLOTS, *heads, RANK, IN, seed=2, dtype=dtype),
        draw(SLOTS, *heads, OUT, RANK, seed=3, dtype=dtype),
    )


@pytest.mark.parametrize("heads", [(), (3,)], ids=str)
@pytest.mark.parametrize("middle", [(), (4,), (4, 2)], ids=str)
def test_is_the_merged_map_of_each_row(middle: tuple[int, ...], heads: tuple[int, ...]) -> None:
    """Outputs and gradients; every op against the loop, and the loop against a block-diagonal matrix."""
    y, x, down, up = given = operands(middle, heads)
    found = routed_adapter(y, x, down, up, ROUTES, 0.5)
    expected = routed_adapter_reference(y, x, down, up, ROUTES, 0.5)
    rows = []
    for row, slot in enumerate(ROUTES):
        delta = (up[slot] @ down[slot]).reshape(-1, OUT, IN)
        rows.append(y[row] + 0.5 * x[row] @ torch.block_diag(*delta).T)
    seed = draw(*found.shape, seed=9).detach()
    wanted = torch.autograd.grad(torch.stack(rows), given, seed)
    for result in (found, expected):
        assert_close(result, torch.stack(rows), F64)
        for g, w in zip(torch.autograd.grad(result, given, seed), wanted, strict=True):
            assert_close(g, w, F64)
    assert not wanted[2][[1, 3]].any() and wanted[2][2].any()  # slots that no row has


def test_gradcheck() -> None:
    for heads in ((), (2,)):
        given = operands((2,), heads)
        assert torch.autograd.gradcheck(lambda *a: routed_adapter(*a, ROUTES, 0.5), given)


@pytest.mark.parametrize("function", [routed_adapter, routed_adapter_reference])
def test_no_routes_and_no_up_change_nothing(function: object) -> None:
    """Without routes, and at the start (B = 0), the map is what it was, to the bit."""
    y, x, down, up = operands((4,), ())
    assert function(y, x, down, up, None, 0.5) is y  # type: ignore[operator]
    assert torch.equal(function(y, x, down, torch.zeros_like(up), ROUTES, 0.5), y)  # type: ignore[operator]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_dtypes(dtype: torch.dtype) -> None:
    wide = routed_adapter(*operands((4,), ()), ROUTES, 0.5)
    found = routed_adapter(*operands((4,), (), dtype), ROUTES, 0.5)
    assert found.dtype == dtype
    assert_close(found, wide.to(dtype), dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = routed_adapter(*operands((4,), (), torch.float32), ROUTES, 0.5)
    assert_close(found, wide.to(torch.bfloat16), torch.bfloat16)


@pytest.mark.parametrize("bad", [-1, SLOTS])
def test_an_index_out_of_range_stops(bad: int) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        routed_adapter(*operands((), ()), torch.tensor([0, bad, 1]), 0.5)


@pytest.mark.parametrize(("lead", "shape"), [((), None), ((), (2, 3, IN)), ((2, 3), None)], ids=str)
def test_weights_of_each_row(lead: tuple[int, ...], shape: tuple[int, ...] | None) -> None:
    w, down, up = draw(*lead, OUT, IN), draw(SLOTS, *lead, RANK, IN, seed=1), draw(SLOTS, *lead, OUT, RANK, seed=2)
    found = routed_weight(w, down, up, ROUTES, 0.5, shape)
    for row, slot in enumerate(ROUTES):
        assert_close(found[row], (w + 0.5 * up[slot] @ down[slot]).view(shape or w.shape), F64)
    alone = routed_weight(w, down, up, None, 0.5, shape)
    assert torch.equal(alone, w.view(1, *(shape or w.shape)))


def test_weights_of_narrow_models_keep_the_adapter() -> None:
    """A sum in bfloat16 would lose an adapter of a thousandth of the weight."""
    w = torch.full((OUT, IN), 1.0, dtype=torch.bfloat16)
    down, up = torch.full((SLOTS, 1, IN), 1e-3).bfloat16(), torch.ones(SLOTS, OUT, 1).bfloat16()
    for context in (torch.autocast("cpu", enabled=False), torch.autocast("cpu", torch.bfloat16)):
        with context:
            found = routed_weight(w, down, up, ROUTES, 1.0)
        assert found.dtype == torch.float32 and (found > 1.0005).all()


def test_per_row() -> None:
    x = draw(4, 5)
    rows = per_row(x, ROUTES)
    assert rows.shape == (3, 4, 5) and rows.data_ptr() == x.data_ptr()

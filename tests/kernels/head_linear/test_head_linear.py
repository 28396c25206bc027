"""Per-head square maps against a block-diagonal matrix."""

from __future__ import annotations

import pytest
import torch

from cortexc.kernels import head_linear

from ...tolerances import assert_close


@pytest.mark.parametrize("lead", [(), (3,), (2, 5)], ids=str)
@pytest.mark.parametrize(("heads", "width", "maps"), [(1, 4, 1), (4, 4, 2), (3, 5, 4)])
def test_is_a_block_diagonal_product(lead: tuple[int, ...], heads: int, width: int, maps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*lead, heads * width, generator=generator, dtype=torch.float64).requires_grad_()
    weights = tuple(
        torch.randn(heads, width, width, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(maps)
    )
    found = head_linear(x, weights)
    expected = torch.stack([x @ torch.block_diag(*w).T for w in weights], -2)
    assert found.shape == (*lead, maps, heads * width)
    assert_close(found, expected)
    seed = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(found, [x, *weights], seed), torch.autograd.grad(expected, [x, *weights], seed), strict=True
    ):
        assert_close(a, b)

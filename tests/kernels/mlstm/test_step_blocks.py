"""A step without gradients on a CPU advances a few rows at a time: nobody can see it."""

from __future__ import annotations

import pytest
import torch

from cortexc.kernels import mlstm_step, overwrite

from ...tolerances import assert_close


@pytest.mark.parametrize("rows", [1, 4, 5])
@pytest.mark.parametrize("cache", [1, 1700])  # bytes: one row at a time, and two
def test_rows_in_blocks(rows: int, cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    heads, width = 2, 5
    q, k, v = (torch.randn(rows, heads, width).double() for _ in range(3))
    i, f = (torch.randn(rows, heads).double() for _ in range(2))
    c = torch.randn(rows, heads, width, width).double()
    n, m = torch.randn(rows, heads, width, 1).double(), torch.randn(rows, heads, 1, 1).double()
    resets = torch.arange(rows) == 1
    kept = c.clone()
    wanted = mlstm_step(q, k, v, i, f, c, n, m, resets)  # with gradients on: the whole at once
    monkeypatch.setattr(overwrite, "CACHE", cache)
    with torch.no_grad():
        found = mlstm_step(q, k, v, i, f, c, n, m, resets)
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b)
    assert torch.equal(c, kept)

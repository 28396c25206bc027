"""The linear map of a step is torch's, however few the rows."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cortexc.kernels import linear, linear_step

from ..tolerances import assert_close


@pytest.fixture(autouse=True, params=[False, True], ids=["vector", "matrix"])
def one_row(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a library that notices one row by itself."""
    monkeypatch.setattr(linear, "ONE_ROW", request.param)


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_is_torch_linear(rows: int, bias: bool, dtype: torch.dtype) -> None:
    x, weight = torch.randn(rows, 7).to(dtype), torch.randn(5, 7).to(dtype)
    b = torch.randn(5).to(dtype) if bias else None
    with torch.no_grad():
        found = linear_step(x, weight, b)
    assert found.dtype == dtype
    assert found.shape == (rows, 5)
    assert_close(found, F.linear(x, weight, b), dtype)


def test_gradients_flow() -> None:
    x, weight = torch.randn(1, 7, requires_grad=True), torch.randn(5, 7, requires_grad=True)
    found = torch.autograd.grad(linear_step(x, weight).square().sum(), [x, weight])
    wanted = torch.autograd.grad(F.linear(x, weight).square().sum(), [x, weight])
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b)


def test_autocast_decides_the_dtype() -> None:
    x, weight = torch.randn(1, 7), torch.randn(5, 7)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert linear_step(x, weight).dtype == torch.bfloat16

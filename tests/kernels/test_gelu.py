"""The GELU of a step is torch's, however few the rows."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cortexc.kernels import gelu_step

from ..tolerances import assert_close


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_is_torch_gelu(rows: int, dtype: torch.dtype) -> None:
    x = torch.linspace(-9, 9, 37, dtype=torch.float64).to(dtype).expand(rows, -1)
    with torch.no_grad():
        found = gelu_step(x)
    assert found.dtype == dtype
    assert_close(found, F.gelu(x), dtype)
    with torch.no_grad():
        assert gelu_step(torch.full((1, 2), float("nan"), dtype=dtype)).isnan().all()


def test_gradients_flow() -> None:
    x = torch.randn(1, 7, requires_grad=True)
    (found,) = torch.autograd.grad(gelu_step(x).sum(), [x])
    (wanted,) = torch.autograd.grad(F.gelu(x).sum(), [x])
    assert_close(found, wanted)

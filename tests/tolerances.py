"""How close is equal: the one table of tolerances, and the comparison that reads it. Never relaxed anywhere."""

from __future__ import annotations

import torch
from torch import Tensor

# float64: the largest absolute difference; the others: the norm of the difference relative to that of the expected.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}
# Gradients that are zero by symmetry (a key's bias under softmax) are sums of terms that cancel: in lower precision
# they are held to this share of the largest gradient. An H100 was seen to leave 1.7e-8 of that in float32.
CANCELLING = {"cpu": 5e-4, "cuda": 1e-3}

# Functions of float32 in C++ (kernels/native/prelude.h): units in the last place; and absolutely, or relative to a
# result above 1, where a result may be tiny beside what it is computed from.
ULPS = 3.0
ABSOLUTE = {"sigmoid": 1.2e-7, "silu": 4e-7, "gelu": 1.2e-6}
EDGES = {"rtol": 1e-6, "atol": 2e-6}  # of the same at the ends of their range


def distance(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> float:
    """In the measure of `dtype`; NaN where one is NaN and the other is not."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} against {tuple(expected.shape)}"
    if actual.numel() == 0:
        return 0.0
    a, b = actual.detach().double(), expected.detach().double()
    if dtype == torch.float64:
        return (a - b).abs().max().item()
    return ((a - b).norm() / b.norm().clamp_min(1e-6)).item()


def assert_close(actual: Tensor, expected: Tensor, dtype: torch.dtype | None = None, what: str = "") -> None:
    """The tolerance is that of `dtype`, by default the dtype of `actual`."""
    dtype = dtype or actual.dtype
    if not dtype.is_floating_point:
        assert torch.equal(actual, expected), what
        return
    error = distance(actual, expected, dtype)
    assert error <= TOLERANCES[dtype], f"{what}: off by {error:.2e}, {dtype} allows {TOLERANCES[dtype]:.0e}"

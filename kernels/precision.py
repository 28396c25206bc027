"""Which dtype a sum is carried in, and how to keep autocast from lowering it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def accumulate_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if any of the tensors is, else float32: the dtype of carried sums, softmax, norms and log-gates."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x.to(dtype)``, which costs as much as a small operator even where it has nothing to do."""
    return x if x.dtype == dtype else x.to(dtype)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """A context in which autocast leaves the matrix products on x's device alone."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()

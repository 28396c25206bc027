"""The GELU of a step, for a handful of rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def gelu_step(x: Tensor) -> Tensor:
    """``torch.nn.functional.gelu``: x Φ(x) = x/2 (1 + erf(x/√2)), any shape.

    On a CPU torch hands it to a library that is made for large tensors, and takes longer to ask than a row to compute.
    """
    if (
        x.is_cuda
        or x.shape[:-1].numel() > 1
        or x.dtype not in (torch.float32, torch.float64)
        or torch.is_grad_enabled()
    ):
        return F.gelu(x)
    half = x * 0.5
    return torch.addcmul(half, half, torch.erf(x * 0.5**0.5))

"""A linear map of a step, for a handful of rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FEW = 1  # rows up to which a weight is streamed rather than multiplied


def linear_step(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``: x [B, I], weight [O, I], bias [O] or None -> [B, O].

    One row on a CPU is a matter of reading the weight once. The libraries' products do that on one core and wait for
    every line; multiplied and summed by elementwise operators it is read by all cores, three times as fast. Not under
    autograd, which would keep the products.
    """
    if x.is_cuda or x.dim() != 2 or x.shape[0] != FEW or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    if torch.is_autocast_enabled("cpu") or x.dtype != weight.dtype or x.dtype not in (torch.float32, torch.float64):
        return F.linear(x, weight, bias)
    y = (weight * x).sum(1)
    return (y if bias is None else y + bias)[None]

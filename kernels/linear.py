"""A linear map of a step, for a handful of rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ONE_ROW = torch.backends.mkl.is_available()  # this library's matrix product notices by itself that it has one row


def linear_step(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``: x [B, I], weight [O, I], bias [O] or None -> [B, O].

    One row on a CPU is a matter of reading the weight once, which a matrix-vector product is made for: where a matrix
    product notices by itself that it has one row it costs the same, elsewhere up to half as much again.
    """
    if (
        ONE_ROW
        or x.is_cuda
        or x.dim() != 2
        or x.shape[0] != 1
        or torch.is_grad_enabled()
        or torch.compiler.is_compiling()
    ):
        return F.linear(x, weight, bias)
    if torch.is_autocast_enabled("cpu") or x.dtype != weight.dtype or x.dtype not in (torch.float32, torch.float64):
        return F.linear(x, weight, bias)
    row = x[0]
    return (torch.mv(weight, row) if bias is None else torch.addmv(bias, weight, row))[None]

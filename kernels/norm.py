"""Norms without bias: per head, and over the whole width. Sums are float32 or better."""

from __future__ import annotations

import torch
from torch import Tensor

from .precision import accumulate_dtype, cast


def head_norm(x: Tensor, weight: Tensor, num_heads: int, eps: float = 1e-5) -> Tensor:
    """Group norm with one group a head: each head of x is centred and scaled by itself.

    x: [..., N*D]; weight: [N*D]. Returns the shape and dtype of x. As xLSTM's MultiHeadLayerNorm.
    """
    dtype = accumulate_dtype(x)
    heads = cast(x, dtype).unflatten(-1, (num_heads, -1))
    normed = torch.layer_norm(heads, heads.shape[-1:], eps=eps).flatten(-2)
    return cast(normed * cast(weight, dtype), x.dtype)


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis (arXiv 1910.07467). Shape and dtype of x."""
    dtype = accumulate_dtype(x)
    wide = x.to(dtype)
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (normed if weight is None else normed * weight.to(dtype)).to(x.dtype)

"""A fixed random rotation: permute, flip signs, Walsh-Hadamard, scale.

Notation: H width, P the largest power of two <= H. For H = P the map is W_P / sqrt(P). For other H, padding to the next
power of two and cutting back to H would lose orthogonality, so W_P / sqrt(P) acts on the first P channels, then on the
last P: each of the two is a rotation of all H channels, hence so is their product, and together they reach every one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def srht(x: Tensor, permutation: Tensor, signs: Tensor) -> Tensor:
    """x: [..., H]; permutation: int64 [H]; signs: [H], of +1 and -1. Returns [..., H] in x's dtype; norms are kept."""
    width = x.shape[-1]
    block = 1 << (width.bit_length() - 1)
    y = x[..., permutation] * signs.to(x.dtype)
    y = torch.cat([_rotate(y[..., :block]), y[..., block:]], -1)
    return y if block == width else torch.cat([y[..., : width - block], _rotate(y[..., width - block :])], -1)


def _rotate(x: Tensor) -> Tensor:
    """W_P x / sqrt(P): as W_P = W_I (x) W_J, two small products in place of log P rounds of additions."""
    size = x.shape[-1]
    inner = 1 << (size.bit_length() // 2)
    inner = min(inner, size)
    grid = x.unflatten(-1, (size // inner, inner))
    return (_hadamard(size // inner, x) @ (grid @ _hadamard(inner, x))).flatten(-2)


def _hadamard(size: int, like: Tensor) -> Tensor:
    """W_size / sqrt(size): the sign of entry (i, j) is the parity of the bits of i & j."""
    index = torch.arange(size, device=like.device)
    bits = index[:, None] & index
    for shift in (16, 8, 4, 2, 1):
        if size > 1 << shift or shift == 1:
            bits = bits ^ (bits >> shift)
    return (1 - 2 * (bits & 1)).to(like.dtype) * size**-0.5

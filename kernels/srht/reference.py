"""The SRHT as dense matrices: the oracle of `transform.py`. Signs and permutation after Ailon & Chazelle (2009)."""

from __future__ import annotations

import torch
from torch import Tensor


def srht_reference(x: Tensor, permutation: Tensor, signs: Tensor) -> Tensor:
    """Shapes as in `transform.srht`."""
    width = x.shape[-1]
    block = 1
    while 2 * block <= width:
        block *= 2
    hadamard = torch.ones(1, 1, dtype=torch.float64)
    while hadamard.shape[0] < block:
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    hadamard = (hadamard / block**0.5).to(x)
    first, last = torch.eye(width).to(x), torch.eye(width).to(x)
    first[:block, :block] = hadamard
    last[width - block :, width - block :] = hadamard
    matrix = first if block == width else last @ first
    return (x[..., permutation] * signs) @ matrix.T

"""How the torch loop lays out its tensors: blocks of steps, time first, a head's rows together.

[B, T, H] becomes [T, N, B, D] (heads N of width D; one head where nothing is recurrent), so that one step is one piece
of memory and the product with the recurrent matrices takes it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

STEPS = 32  # of one block at most
NUMBERS = 1 << 16  # of one block of one variable, about: what a cache holds, and enough to hide what an operator costs


def block_length(rows: int, length: int, width: int) -> int:
    """Steps in one block."""
    return max(1, min(STEPS, length, NUMBERS // (rows * width)))


def by_step(values: Tensor, heads: int) -> Tensor:
    """[B, T, H] as a view [T, N, B, D]."""
    return values.unflatten(-1, (heads, values.shape[-1] // heads)).permute(1, 2, 0, 3)


def by_row(values: Tensor) -> Tensor:
    """[T, N, B, D] copied to [B, T, H]."""
    return values.permute(2, 0, 1, 3).flatten(2)


def split(values: Tensor, heads: int) -> Tensor:
    """[B, H] copied to [N, B, D]."""
    return values.unflatten(-1, (heads, values.shape[-1] // heads)).transpose(0, 1).contiguous()


def merge(values: Tensor) -> Tensor:
    """[N, B, D] copied to [B, H]: memory of its own, whatever the values are a view of."""
    return values.transpose(0, 1).clone(memory_format=torch.contiguous_format).flatten(1)


def by_head(maps: Tensor) -> Tensor:
    """Maps [N, ·, ·] as they are; those of each row, [B, N, ·, ·], as a view [N, B, ·, ·]."""
    return maps if maps.dim() == 3 else maps.transpose(0, 1)


def product(x: Tensor, maps: Tensor) -> Tensor:
    """x · maps: [N, B, I], and maps [N, I, O] that the rows share or [N, B, I, O] of their own -> [N, B, O]."""
    return torch.bmm(x, maps) if maps.dim() == 3 else (x.unsqueeze(-2) @ maps).squeeze(-2)


def masks(resets: Tensor | None, length: int) -> tuple[Sequence[bool], Sequence[Tensor]]:
    """Per step: whether any row may be reset (else nothing need be selected), and which, [1, B, 1].

    On a GPU the answer is always "may be": to look would make the host wait.
    """
    if resets is None:
        return [False] * length, ()
    some = resets.any(0).tolist() if resets.device.type == "cpu" else [True] * length
    return some, resets.t()[:, None, :, None].unbind(0)

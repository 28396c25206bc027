"""What Transformer-XL attention carries between calls, and the encoding of distance.

Notation: B rows, T steps, H width, M memory slots. Slots fill from the right: the newest input stands last, and the
last `fill[b]` slots of row b are real. Slots which are not real hold zeros and are never attended.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..segments import segment_starts


def relative_positions(
    mem_len: int, width: int, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Tensor:
    """R(d) for d = 0 .. mem_len: [M+1, H] = [sin(d f), cos(d f)], f_i = 10000^(-2i/H) (arXiv 1901.02860, section 3.3).

    Computed in float64, then rounded to `dtype`. An odd H drops the last cosine.
    """
    frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64, device=device) / max(width, 1))
    angle = torch.arange(mem_len + 1, dtype=torch.float64, device=device)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], -1)[:, :width].to(dtype or torch.get_default_dtype())


def xl_memory(x: Tensor, mem: Tensor, fill: Tensor, segments: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The memory after the inputs x: the last M of [mem, x] of the current episode, detached.

    x: [B, T, H]; mem: [B, M, H]; fill: int64 [B]; segments: int64 [B, T] or None. Returns mem' [B, M, H] in mem's dtype
    and fill' int64 [B].
    """
    slots, steps = mem.shape[1], x.shape[1]
    if segments is None:
        length = fill + steps
    else:
        length = torch.where(segments[:, -1] == 0, fill + steps, steps - segment_starts(segments)[:, -1])
    fill = length.clamp(max=slots)
    rows = torch.cat([mem.detach(), x.detach().to(mem.dtype)], 1)[:, steps:]
    real = torch.arange(slots, device=x.device) >= slots - fill[:, None]
    return torch.where(real[..., None], rows, 0), fill


def xl_context(x: Tensor, mem: Tensor, segments: Tensor | None = None) -> Tensor:
    """What keys and values are projected from: the remembered inputs, then the new ones: [B, M+T, H] in x's dtype.

    No gradient goes into the memory. A memory that a reset at the first step cuts off is read as zeros, so that a
    NaN in
    it reaches no gradient of the projections either."""
    mem = mem.detach().to(x.dtype)
    if segments is not None:
        mem = torch.where((segments[:, 0] > 0)[:, None, None], 0, mem)
    return torch.cat([mem, x], 1)

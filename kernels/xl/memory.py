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

"""What Transformer-XL attention carries between calls, and the encoding of distance.

Notation: B rows, T steps, H width, M memory slots. Slots fill from the right: the newest input stands last, and the
last `fill[b]` slots of row b are real. Slots which are not real hold zeros and are never attended.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..pointwise.region import loops_on_triton
from ..recycle import cat
from ..segments import segment_starts
from .window import context, memory_after


def relative_positions(
    mem_len: int, width: int, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Tensor:
    """R(d) for d = 0 .. mem_len: [M+1, H] = [sin(d f), cos(d f)], f_i = 10000^(-2i/H) (arXiv 1901.02860, section 3.3).

    Computed in float64, then rounded to `dtype`. An odd H drops the last cosine. It is computed once.
    """
    key = mem_len, width, dtype or torch.get_default_dtype(), torch.device(device or torch.get_default_device())
    tracing = torch.compiler.is_compiling()
    if not tracing and key in _kept:
        return _kept[key]
    with torch.inference_mode(False), torch.no_grad():
        found = _positions(*key)
    # What a graph makes while it is recorded is the graph's. What is kept stays, since recorded graphs read it there.
    recording = not tracing and key[3].type == "cuda" and torch.cuda.is_current_stream_capturing()
    if not tracing and not recording and type(found) is Tensor and len(_kept) < KEPT:
        _kept[key] = found
    return found


KEPT = 64  # encodings
_kept: dict[tuple[int, int, torch.dtype, torch.device], Tensor] = {}


def _positions(mem_len: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64, device=device) / max(width, 1))
    angle = torch.arange(mem_len + 1, dtype=torch.float64, device=device)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], -1)[:, :width].to(dtype)


def xl_memory(x: Tensor, mem: Tensor, fill: Tensor, segments: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The memory after the inputs x: the last M of [mem, x] of the current episode, detached.

    x: [B, T, H]; mem: [B, M, H]; fill: int64 [B]; segments: int64 [B, T] or None. Returns mem' [B, M, H] in mem's dtype
    and fill' int64 [B].
    """
    if _moves_on_triton(x, mem):
        return memory_after(x, mem, fill, segments)
    slots, steps = mem.shape[1], x.shape[1]
    old, new = mem.detach(), x.detach().to(mem.dtype)
    rows = cat([old[:, steps:], new[:, max(0, steps - slots) :]], 1)
    if segments is None:
        return rows, (fill + steps).clamp(max=slots)  # what is not real was zeros, and has only moved
    length = torch.where(segments[:, -1] == 0, fill + steps, steps - segment_starts(segments)[:, -1])
    fill = length.clamp(max=slots)
    real = torch.arange(slots, device=x.device) >= slots - fill[:, None]
    return rows.masked_fill_(~real[..., None], 0), fill


def xl_context(x: Tensor, mem: Tensor, segments: Tensor | None = None) -> Tensor:
    """What keys and values are projected from: the remembered inputs, then the new ones: [B, M+T, H] in x's dtype.

    No gradient goes into the memory. A memory that a reset at the first step cuts off is read as zeros, so that a
    NaN in
    it reaches no gradient of the projections either."""
    if segments is not None and _moves_on_triton(x, mem):
        return context(x, mem, segments)
    mem = mem.detach().to(x.dtype)
    if segments is not None:
        mem = torch.where((segments[:, 0] > 0)[:, None, None], 0, mem)
    return torch.cat([mem, x], 1)


def _moves_on_triton(x: Tensor, mem: Tensor) -> bool:
    return not torch.compiler.is_compiling() and loops_on_triton(x) and loops_on_triton(mem)


def by_distance(queries: Tensor, rel: Tensor) -> Tensor:
    """The products of queries [N, B, W, D] with every distance, the farthest first: [N, B, W, M+1].

    rel: [M+1, N, D], or with adapters one for each row, [B, M+1, N, D].
    """
    if rel.dim() == 3:
        rows = queries.flatten(1, 2) @ rel.flip(0).permute(1, 2, 0)
        return rows.unflatten(1, queries.shape[1:3])
    return queries @ rel.flip(1).permute(2, 0, 3, 1)

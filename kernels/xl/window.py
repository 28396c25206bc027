"""The memory as a window that moves over [memory, inputs], as one Triton kernel: what a call sees, what it leaves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._triton import INTERPRETED, tl, triton
from ..ahead import launch
from ..recurrence.tiles import padded_width

ELEMENTS = 4096  # of one tile
ELEMENTS_INTERPRETED = 1 << 16
STEPS = 128  # whose episodes are looked up at once


@triton.jit(do_not_specialize=["T", "offset", "rows"])
def window_kernel(
    x_ptr,  # [B, T, H], strides x_b and x_t
    mem_ptr,  # [B, M, H]
    fill_ptr,  # [B]
    ids_ptr,  # [B, T]: of int64 or bool
    out_ptr,  # [B, rows, H]
    filled_ptr,  # [B]
    T,
    x_b,
    x_t,
    offset,  # of the window: T for the memory after a call, 0 for what the call sees
    rows,
    M: tl.constexpr,
    H: tl.constexpr,
    AFTER: tl.constexpr,  # whether the window is the memory after the call
    HAS_SEGMENTS: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    """One program: one row, BLOCK_S places of the window, BLOCK_H channels. What is not real is zero."""
    row = tl.program_id(0).to(tl.int64)
    first = 0  # the first place that is real
    if AFTER:
        length = tl.load(fill_ptr + row) + T
        if HAS_SEGMENTS:
            last = tl.load(ids_ptr + row * T + T - 1).to(tl.int64)
            count = tl.zeros((BLOCK_T,), tl.int64)  # of the last M steps, those of the last episode
            for t0 in range(tl.maximum(T - M, 0), T, BLOCK_T):
                t = t0 + tl.arange(0, BLOCK_T)
                there = tl.load(ids_ptr + row * T + t, mask=t < T, other=0).to(tl.int64)
                count += ((there == last) & (t < T)).to(tl.int64)
            length = tl.where(last == 0, length, tl.sum(count, 0))
        filled = tl.minimum(length, M)
        first = M - filled
        if (tl.program_id(1) == 0) & (tl.program_id(2) == 0):
            tl.store(filled_ptr + row, filled)
    elif HAS_SEGMENTS:
        first = tl.where(tl.load(ids_ptr + row * T).to(tl.int64) > 0, M, 0)
    s = (tl.program_id(1) * BLOCK_S + tl.arange(0, BLOCK_S))[:, None]
    h = tl.program_id(2) * BLOCK_H + tl.arange(0, BLOCK_H)[None, :]
    inside = (s < rows) & (h < H)
    place = s + offset  # in [memory, inputs]
    real = inside & (s >= first)
    old = tl.load(mem_ptr + row * M * H + place * H + h, mask=real & (place < M), other=0.0)
    new = tl.load(x_ptr + row * x_b + (place - M).to(tl.int64) * x_t + h, mask=real & (place >= M), other=0.0)
    dtype = out_ptr.dtype.element_ty
    out = tl.where(place < M, old.to(dtype), new.to(dtype))
    tl.store(out_ptr + row * rows * H + s.to(tl.int64) * H + h, out, mask=inside)


def _launch(
    x: Tensor, mem: Tensor, fill: Tensor | None, ids: Tensor | None, out: Tensor, filled: Tensor | None
) -> None:
    rows, steps, width = x.shape
    places = out.shape[1]
    x = x if x.stride(-1) == 1 else x.contiguous()
    elements = ELEMENTS_INTERPRETED if INTERPRETED else ELEMENTS
    block_h = min(padded_width(width), elements)
    block_s = min(elements // block_h, 1 << (places - 1).bit_length())
    after = filled is not None
    launch(window_kernel, (rows, -(-places // block_s), -(-width // block_h)))(
        x, mem.contiguous(), mem if fill is None else fill.contiguous(), x if ids is None else ids.contiguous(), out,
        out if filled is None else filled, steps, x.stride(0), x.stride(1), steps if after else 0, places,
        M=mem.shape[1], H=width, AFTER=after, HAS_SEGMENTS=ids is not None,
        BLOCK_S=block_s, BLOCK_H=block_h, BLOCK_T=STEPS,
    )  # fmt: skip


def memory_after(x: Tensor, mem: Tensor, fill: Tensor, ids: Tensor | None) -> tuple[Tensor, Tensor]:
    """`memory.xl_memory` on a GPU. ids: segments, int64 [B, T], or the resets of one step, bool [B, 1], or None."""
    kept, filled = torch.empty_like(mem, memory_format=torch.contiguous_format), torch.empty_like(fill)
    _launch(x.detach(), mem.detach(), fill, ids, kept, filled)
    return kept, filled


class _Context(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mem: Tensor, segments: Tensor) -> Tensor:
        ctx.slots = mem.shape[1]
        out = torch.empty(x.shape[0], ctx.slots + x.shape[1], x.shape[2], dtype=x.dtype, device=x.device)
        _launch(x, mem, None, segments, out, None)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return grad[:, ctx.slots :], None, None


def context(x: Tensor, mem: Tensor, segments: Tensor) -> Tensor:
    """`memory.xl_context` on a GPU where there are resets."""
    found: Tensor = _Context.apply(x, mem.detach(), segments)
    return found

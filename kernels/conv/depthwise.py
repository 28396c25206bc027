"""Depthwise causal convolution as Triton kernels: one launch forward, one backward and one sum for the weights.

The window is [carried, inputs], K + T long; the output at t reads its places t+1 … t+K. Every tap asks whether its
input belongs to the episode of the output, as in `sequence.py`, so resets are exact selections.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..recurrence._triton import INTERPRETED, tl, triton

STEPS, CHANNELS = 64, 64  # of one program
STEPS_INTERPRETED, CHANNELS_INTERPRETED = 16, 64


@triton.jit
def _place(x_ptr, carried_ptr, ids_ptr, row, i, channel, real, T, H, K: tl.constexpr, HAS_RESETS: tl.constexpr):
    """The value and the segment of place i of the window."""
    new = i >= K
    value = tl.load(x_ptr + (row * T + (i - K)) * H + channel, mask=real & new, other=0.0).to(tl.float32)
    value += tl.load(carried_ptr + (row * K + i) * H + channel, mask=real & (i < K) & (i >= 0), other=0.0).to(
        tl.float32
    )
    segment = i * 0
    if HAS_RESETS:
        segment = tl.load(ids_ptr + row * T + (i - K), mask=new & (i < K + T), other=0)
    return value, segment


@triton.jit(do_not_specialize=["T"])
def forward_kernel(
    x_ptr,  # [B, T, H]
    carried_ptr,  # [B, K, H]
    weight_ptr,  # [H, K]
    bias_ptr,  # [H]
    ids_ptr,  # [B, T]
    y_ptr,  # [B, T, H]
    kept_ptr,  # [B, K, H]
    T,
    H: tl.constexpr,
    K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_H: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):
    """One program: one row, BLOCK_T steps, BLOCK_H channels."""
    row = tl.program_id(0).to(tl.int64)
    t = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T))[:, None]
    channel = tl.program_id(2) * BLOCK_H + tl.arange(0, BLOCK_H)[None, :]
    own = channel < H
    real = (t < T) & own
    y = tl.zeros((BLOCK_T, BLOCK_H), tl.float32)
    if HAS_BIAS:
        y += tl.load(bias_ptr + channel, mask=own, other=0.0).to(tl.float32)
    here = t * 0
    if HAS_RESETS:
        here = tl.load(ids_ptr + row * T + t, mask=t < T, other=0)
    for k in tl.static_range(K):
        value, segment = _place(x_ptr, carried_ptr, ids_ptr, row, t + 1 + k, channel, real, T, H, K, HAS_RESETS)
        w = tl.load(weight_ptr + channel * K + k, mask=own, other=0.0).to(tl.float32)
        y += tl.where(segment == here, value, 0.0) * w
    tl.store(y_ptr + (row * T + t) * H + channel, y, mask=real)
    # the last K places are carried on: those of the last step's episode
    for k in tl.static_range(K):
        i = T + k + t * 0
        last = (t == T - 1) & own
        value, segment = _place(x_ptr, carried_ptr, ids_ptr, row, i, channel, last, T, H, K, HAS_RESETS)
        tl.store(kept_ptr + (row * K + k) * H + channel + t * 0, tl.where(segment == here, value, 0.0), mask=last)


@triton.jit(do_not_specialize=["T"])
def backward_kernel(
    x_ptr,  # [B, T, H]
    carried_ptr,  # [B, K, H]
    weight_ptr,  # [H, K]
    ids_ptr,  # [B, T]
    d_y_ptr,  # [B, T, H]
    d_kept_ptr,  # [B, K, H]
    d_x_ptr,  # [B, T, H]
    d_carried_ptr,  # [B, K, H]
    parts_ptr,  # [parts, K + 1, H]
    T,
    H: tl.constexpr,
    K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_H: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):
    """One program: one row, BLOCK_T places of the window, BLOCK_H channels."""
    row = tl.program_id(0).to(tl.int64)
    i = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T))[:, None]
    channel = tl.program_id(2) * BLOCK_H + tl.arange(0, BLOCK_H)[None, :]
    own = channel < H
    real = (i < K + T) & own
    value, here = _place(x_ptr, carried_ptr, ids_ptr, row, i, channel, real, T, H, K, HAS_RESETS)
    d = tl.zeros((BLOCK_T, BLOCK_H), tl.float32)
    part = (row * tl.num_programs(1) + tl.program_id(1)) * (K + 1)
    for k in tl.static_range(K):
        t = i - 1 - k  # the output that reads place i by tap k
        reads = real & (t >= 0) & (t < T)
        if HAS_RESETS:
            reads = reads & (tl.load(ids_ptr + row * T + t, mask=(t >= 0) & (t < T), other=-1) == here)
        d_y = tl.load(d_y_ptr + (row * T + t) * H + channel, mask=reads, other=0.0).to(tl.float32)
        w = tl.load(weight_ptr + channel * K + k, mask=own, other=0.0).to(tl.float32)
        d += d_y * w
        tl.store(parts_ptr + (part + k) * H + channel, tl.sum(tl.where(reads, d_y * value, 0.0), 0)[None, :], mask=own)
    # the output at t = i, once each
    d_y = tl.load(d_y_ptr + (row * T + i) * H + channel, mask=(i < T) & own, other=0.0).to(tl.float32)
    tl.store(parts_ptr + (part + K) * H + channel, tl.sum(d_y, 0)[None, :], mask=own)
    carried_on = real & (i >= T)
    if HAS_RESETS:
        carried_on = carried_on & (tl.load(ids_ptr + row * T + T - 1) == here)
    d += tl.load(d_kept_ptr + (row * K + (i - T)) * H + channel, mask=carried_on, other=0.0).to(tl.float32)
    tl.store(d_x_ptr + (row * T + (i - K)) * H + channel, d, mask=real & (i >= K))
    tl.store(d_carried_ptr + (row * K + i) * H + channel, d, mask=real & (i < K))


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, carried: Tensor, weight: Tensor, bias: Tensor | None, segments: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x, carried, weight = x.contiguous(), carried.contiguous(), weight.contiguous()
        rows, steps, width = x.shape
        kernel = weight.shape[-1]
        y, kept = torch.empty_like(x), torch.empty_like(carried)
        ids = x if segments is None else segments.contiguous()
        grid, tile = _tile(rows, steps, width)
        forward_kernel[grid](
            x, carried, weight, weight if bias is None else bias.contiguous(), ids, y, kept, steps,
            H=width, K=kernel, HAS_BIAS=bias is not None, HAS_RESETS=segments is not None, **tile,
        )  # fmt: skip
        ctx.save_for_backward(x, carried, weight, segments)
        ctx.bias = None if bias is None else bias.dtype
        return y, kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor, d_kept: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, carried, weight, segments = ctx.saved_tensors
        rows, steps, width = x.shape
        kernel = weight.shape[-1]
        grid, tile = _tile(rows, steps + kernel, width)
        d_x, d_carried = torch.empty_like(x), torch.empty_like(carried)
        parts = torch.empty(grid[0] * grid[1], kernel + 1, width, dtype=torch.float32, device=x.device)
        ids = x if segments is None else segments.contiguous()
        backward_kernel[grid](
            x, carried, weight, ids, d_y.contiguous(), d_kept.contiguous(), d_x, d_carried, parts, steps,
            H=width, K=kernel, HAS_RESETS=segments is not None, **tile,
        )  # fmt: skip
        sums = parts.sum(0)
        d_weight = sums[:kernel].T.reshape(weight.shape).to(weight.dtype)
        return d_x, d_carried, d_weight, None if ctx.bias is None else sums[kernel].to(ctx.bias), None


def _tile(rows: int, steps: int, width: int) -> tuple[tuple[int, int, int], dict[str, int]]:
    most = (STEPS_INTERPRETED, CHANNELS_INTERPRETED) if INTERPRETED else (STEPS, CHANNELS)
    block_t, block_h = (min(m, 1 << (n - 1).bit_length()) for m, n in zip(most, (steps, width), strict=True))
    grid = rows, -(-steps // block_t), -(-width // block_h)
    return grid, {"BLOCK_T": block_t, "BLOCK_H": block_h}


def depthwise(
    x: Tensor, carried: Tensor, weight: Tensor, bias: Tensor | None, segments: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`causal_conv` for weight [H, 1, K], K > 0, on a GPU. Sums in float32; y has the dtype of x."""
    y, kept = _Depthwise.apply(x, carried, weight, bias, segments)
    return y, kept

"""Depthwise causal convolution as Triton kernels: one launch forward, one backward and one sum for the weights.

The window is [carried, inputs], K + T long; the output at t reads its places t+1 … t+K. A program walks over time with
a few channels, so that what it sums for the weights stays in registers and every number comes from memory once: the K
taps of a step overlap with those of the step before, which are in the nearest cache. Every tap asks whether its input
belongs to the episode of the output, as in `sequence.py`, so resets are exact selections.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._triton import INTERPRETED, tl, triton
from ..ahead import launch

# Steps of one program: few where that makes enough programs to fill a device, else many. Measured on an H100.
FEW, MANY, ENOUGH = 16, 64, 2048
FEW_INTERPRETED = 8
BYTES = 16  # that a thread reads at once


@triton.jit
def _place(x_ptr, carried_ptr, i, channel, real, H: tl.constexpr, K: tl.constexpr, EDGE: tl.constexpr):
    """Places i of the window. EDGE: some may be carried ones."""
    inputs = real & (i >= K) if EDGE else real
    value = tl.load(x_ptr + (i - K) * H + channel, mask=inputs, other=0.0).to(tl.float32)
    if EDGE:
        value += tl.load(carried_ptr + i * H + channel, mask=real & (i < K) & (i >= 0), other=0.0).to(tl.float32)
    return value


@triton.jit
def _segment(ids_ptr, i, T, K: tl.constexpr):
    """The segments of places i; the carried window belongs to segment 0."""
    return tl.load(ids_ptr + (i - K), mask=(i >= K) & (i < K + T), other=0)


@triton.jit
def _outputs(
    x_ptr, carried_ptr, ids_ptr, y_ptr, w, bias, start, channel, tap, T,
    H: tl.constexpr, K: tl.constexpr, CHUNK: tl.constexpr, HAS_RESETS: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """The outputs of CHUNK steps. EDGE: the first may read carried places, the last may lie behind the end. A branch
    in the loop would keep the loads of a step behind those before it, so this is a constant of the loop."""
    own = channel < H
    taps = (tap < K) & own
    for step in tl.range(0, CHUNK, loop_unroll_factor=4):
        t = start + step
        inside = t < T if EDGE else t == t
        value = _place(x_ptr, carried_ptr, t + 1 + tap, channel, taps & inside, H, K, EDGE)
        if HAS_RESETS:
            here = tl.load(ids_ptr + t, mask=inside, other=0)
            value = tl.where(_segment(ids_ptr, t + 1 + tap, T, K) == here, value, 0.0)
        y = bias + tl.sum(value * w, 0)[None, :]
        tl.store(y_ptr + t * H + channel, y, mask=own & inside)


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
    TAPS: tl.constexpr,  # K, padded to a power of two
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):
    """One program: one row, CHUNK steps, BLOCK channels."""
    row = tl.program_id(0).to(tl.int64)
    first = tl.program_id(1).to(tl.int64) * CHUNK
    start = first + tl.zeros((1, 1), tl.int64)  # a tile, like the masks that it is compared into
    channel = (tl.program_id(2) * BLOCK + tl.arange(0, BLOCK))[None, :]
    own = channel < H
    tap = tl.arange(0, TAPS)[:, None]
    taps = (tap < K) & own
    x_ptr, y_ptr, ids_ptr = x_ptr + row * T * H, y_ptr + row * T * H, ids_ptr + row * T
    carried_ptr, kept_ptr = carried_ptr + row * K * H, kept_ptr + row * K * H
    w = tl.load(weight_ptr + channel * K + tap, mask=taps, other=0.0).to(tl.float32)
    bias = tl.zeros((1, BLOCK), tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + channel, mask=own, other=0.0).to(tl.float32)
    if (first < K) | (first + CHUNK > T):
        _outputs(
            x_ptr, carried_ptr, ids_ptr, y_ptr, w, bias, start, channel, tap, T, H, K, CHUNK, HAS_RESETS, True
        )  # fmt: skip
    else:
        _outputs(
            x_ptr, carried_ptr, ids_ptr, y_ptr, w, bias, start, channel, tap, T, H, K, CHUNK, HAS_RESETS, False
        )  # fmt: skip
    if (first < T) & (first + CHUNK >= T):  # the last K places are carried on: those of the last step's episode
        value = _place(x_ptr, carried_ptr, T + tap, channel, taps, H, K, True)
        if HAS_RESETS:
            value = tl.where(_segment(ids_ptr, T + tap, T, K) == tl.load(ids_ptr + T - 1), value, 0.0)
        tl.store(kept_ptr + tap * H + channel, value, mask=taps)


@triton.jit
def _gradients(
    x_ptr, carried_ptr, ids_ptr, d_y_ptr, d_kept_ptr, d_x_ptr, d_carried_ptr, w, start, channel, tap, T,
    H: tl.constexpr, K: tl.constexpr, CHUNK: tl.constexpr, HAS_RESETS: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """Writes those of CHUNK places of the window; returns those of the taps and of the bias."""
    own = channel < H
    taps = (tap < K) & own
    d_w = tl.zeros(w.shape, tl.float32)
    d_bias = tl.zeros(channel.shape, tl.float32)
    for step in tl.range(0, CHUNK, loop_unroll_factor=4):
        i = start + step
        real = own & (i < K + T) if EDGE else own
        value = _place(x_ptr, carried_ptr, i, channel, real, H, K, EDGE)
        t = i - 1 - tap  # the outputs that read place i
        reads = taps & (t >= 0) & (t < T) if EDGE else taps
        if HAS_RESETS:
            here = _segment(ids_ptr, i, T, K)
            inside = (t >= 0) & (t < T) if EDGE else t == t
            reads = reads & (tl.load(ids_ptr + t, mask=inside, other=-1) == here)
        d_y = tl.load(d_y_ptr + t * H + channel, mask=reads, other=0.0).to(tl.float32)
        d = tl.sum(d_y * w, 0)[None, :]
        d_w += d_y * tl.where(reads, value, 0.0)
        now = own & (i < T) if EDGE else own
        d_bias += tl.load(d_y_ptr + i * H + channel, mask=now, other=0.0).to(tl.float32)
        if EDGE:
            carried_on = real & (i >= T)
            if HAS_RESETS:
                carried_on = carried_on & (tl.load(ids_ptr + T - 1) == here)
            d += tl.load(d_kept_ptr + (i - T) * H + channel, mask=carried_on, other=0.0).to(tl.float32)
            tl.store(d_carried_ptr + i * H + channel, d, mask=real & (i < K))
        tl.store(d_x_ptr + (i - K) * H + channel, d, mask=real & (i >= K) if EDGE else real)
    return d_w, d_bias


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
    TAPS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):
    """One program: one row, CHUNK places of the window, BLOCK channels."""
    row = tl.program_id(0).to(tl.int64)
    first = tl.program_id(1).to(tl.int64) * CHUNK
    start = first + tl.zeros((1, 1), tl.int64)  # a tile, like the masks that it is compared into
    channel = (tl.program_id(2) * BLOCK + tl.arange(0, BLOCK))[None, :]
    own = channel < H
    tap = tl.arange(0, TAPS)[:, None]
    taps = (tap < K) & own
    part = (row * tl.num_programs(1) + tl.program_id(1)) * (K + 1)
    x_ptr, d_x_ptr, d_y_ptr = x_ptr + row * T * H, d_x_ptr + row * T * H, d_y_ptr + row * T * H
    carried_ptr, d_carried_ptr = carried_ptr + row * K * H, d_carried_ptr + row * K * H
    d_kept_ptr, ids_ptr = d_kept_ptr + row * K * H, ids_ptr + row * T
    w = tl.load(weight_ptr + channel * K + tap, mask=taps, other=0.0).to(tl.float32)
    if (first < K) | (first + CHUNK > T):
        d_w, d_bias = _gradients(
            x_ptr, carried_ptr, ids_ptr, d_y_ptr, d_kept_ptr, d_x_ptr, d_carried_ptr, w, start, channel, tap, T,
            H, K, CHUNK, HAS_RESETS, True,
        )  # fmt: skip
    else:
        d_w, d_bias = _gradients(
            x_ptr, carried_ptr, ids_ptr, d_y_ptr, d_kept_ptr, d_x_ptr, d_carried_ptr, w, start, channel, tap, T,
            H, K, CHUNK, HAS_RESETS, False,
        )  # fmt: skip
    tl.store(parts_ptr + (part + tap) * H + channel, d_w, mask=taps)
    tl.store(parts_ptr + (part + K) * H + channel, d_bias, mask=own)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, carried: Tensor, weight: Tensor, bias: Tensor | None, segments: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x, carried, weight = x.contiguous(), carried.contiguous(), weight.contiguous()
        kernel = weight.shape[-1]
        y, kept = torch.empty_like(x), torch.empty_like(carried)
        ids = x if segments is None else segments.contiguous()
        grid, tile = _tile(x, kernel, x.shape[1])
        launch(forward_kernel, grid)(
            x, carried, weight, weight if bias is None else bias.contiguous(), ids, y, kept, x.shape[1],
            HAS_BIAS=bias is not None, HAS_RESETS=segments is not None, **tile,
        )  # fmt: skip
        ctx.save_for_backward(x, carried, weight, segments)
        ctx.bias = None if bias is None else bias.dtype
        return y, kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor, d_kept: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, carried, weight, segments = ctx.saved_tensors
        steps, kernel = x.shape[1], weight.shape[-1]
        grid, tile = _tile(x, kernel, steps + kernel)
        d_x, d_carried = torch.empty_like(x), torch.empty_like(carried)
        parts = torch.empty(*grid[:2], kernel + 1, x.shape[2], dtype=torch.float32, device=x.device)
        ids = x if segments is None else segments.contiguous()
        launch(backward_kernel, grid)(
            x, carried, weight, ids, d_y.contiguous(), d_kept.contiguous(), d_x, d_carried, parts, steps,
            HAS_RESETS=segments is not None, **tile,
        )  # fmt: skip
        sums = parts.sum(1).sum(0)  # many short sums, then few: one long sum an output would leave a GPU idle
        d_weight = sums[:kernel].T.reshape(weight.shape).to(weight.dtype)
        return d_x, d_carried, d_weight, None if ctx.bias is None else sums[kernel].to(ctx.bias), None


def _tile(x: Tensor, kernel: int, steps: int) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Grid and constants: a warp reads BYTES a thread, its taps stay within a thread."""
    rows, _, width = x.shape
    block = min(32 * BYTES // x.element_size(), 1 << (width - 1).bit_length())
    blocks = -(-width // block)
    chunk = MANY if rows * blocks * (steps // MANY) >= ENOUGH else FEW_INTERPRETED if INTERPRETED else FEW
    taps = 1 << (kernel - 1).bit_length()
    tile = {"H": width, "K": kernel, "TAPS": taps, "CHUNK": chunk, "BLOCK": block, "num_warps": 1}
    return (rows, -(-steps // chunk), blocks), tile


def depthwise(
    x: Tensor, carried: Tensor, weight: Tensor, bias: Tensor | None, segments: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`causal_conv` for weight [H, 1, K], K > 0, on a GPU. Sums in float32; y has the dtype of x."""
    y, kept = _Depthwise.apply(x, carried, weight, bias, segments)
    return y, kept

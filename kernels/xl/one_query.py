"""One query over the raw memory as a Triton kernel: the middle of `step.xl_step`, between its two matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from .._triton import INTERPRETED, tl, triton
from ..ahead import launch
from ..recurrence.tiles import padded_width, precision
from .tiles import LOG2E, on_chip

HEADS = 16  # rows of a tile of heads: what a matrix product takes at least
WIDEST = {2: 512, 4: 256}  # channels up to which this is faster than torch, by bytes of a number; measured on an H100
SLOTS, SMALLEST = 32, 16  # of a tile


@triton.jit
def one_query_kernel(
    probe_ptr,  # [B, N, H], strides probe_b and probe_n
    q_ptr,  # [B, N, D]
    v_bias_ptr,  # [N, D]
    rel_ptr,  # [M+1, N, D], or one for each row
    x_ptr,  # [B, H]
    mem_ptr,  # [B, M, H]
    fill_ptr,  # [B]
    resets_ptr,  # [B]
    seen_ptr,  # [N, B, H]
    factor,  # of scores: log2(e) / sqrt(D)
    probe_b,
    probe_n,
    rel_b,
    N: tl.constexpr,
    M: tl.constexpr,
    D: tl.constexpr,
    H: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,  # channels of all heads
    BLOCK_H: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program: one row, all heads. The own input comes first, then the memory in blocks of slots."""
    row = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BLOCK_N)[:, None]
    h = tl.arange(0, BLOCK_H)[None, :]
    c = tl.arange(0, BLOCK_C)[None, :]
    own_h, own_c = h < H, c < N * D
    fill = tl.load(fill_ptr + row).to(tl.int32)
    if HAS_RESETS:
        fill = tl.where(tl.load(resets_ptr + row).to(tl.int32) != 0, 0, fill)
    probe = tl.load(probe_ptr + row * probe_b + n * probe_n + h, mask=(n < N) & own_h, other=0.0)
    # Head n's query in its own channels and zeros in the others': one product with rel serves all heads.
    query = tl.load(q_ptr + row * (N * D) + c, mask=own_c, other=0.0)
    biased = query.to(tl.float32) + tl.load(v_bias_ptr + c, mask=own_c, other=0.0).to(tl.float32)
    query = tl.where(c // D == n, biased, 0.0).to(query.dtype)
    rel_ptr += row * rel_b

    own = tl.load(x_ptr + row * H + h, mask=own_h, other=0.0).to(tl.float32)
    nearest = tl.load(rel_ptr + c, mask=own_c, other=0.0).to(tl.float32)
    top = (tl.sum(probe.to(tl.float32) * own, 1) + tl.sum(query.to(tl.float32) * nearest, 1)) * factor
    total = top * 0.0 + 1.0
    acc = tl.zeros((BLOCK_N, BLOCK_H), tl.float32) + own
    first = M - fill  # the first slot that is real
    for s0 in range(first // BLOCK_S * BLOCK_S, M, BLOCK_S):
        s = s0 + tl.arange(0, BLOCK_S)
        real = (s >= first) & (s < M)
        slots = tl.load(mem_ptr + (row * M + s)[:, None] * H + h, mask=real[:, None] & own_h, other=0.0)
        slots = slots.to(probe.dtype)
        rel = tl.load(rel_ptr + (M - s)[:, None] * (N * D) + c, mask=real[:, None] & own_c, other=0.0)
        score = tl.dot(probe, tl.trans(slots), input_precision=PRECISION)
        score = tl.dot(query, tl.trans(rel.to(query.dtype)), score, input_precision=PRECISION) * factor
        score = tl.where(real[None, :], score, float("-inf"))
        largest = tl.maximum(top, tl.max(score, 1))
        weight = tl.exp2(score - largest[:, None])
        shrink = tl.exp2(top - largest)
        total = total * shrink + tl.sum(weight, 1)
        acc = tl.dot(weight.to(slots.dtype), slots, acc * shrink[:, None], input_precision=PRECISION)
        top = largest
    seen = (acc / total[:, None]).to(seen_ptr.dtype.element_ty)
    tl.store(seen_ptr + (n * tl.num_programs(0) + row) * H + h, seen, mask=(n < N) & own_h)


def takes(q: Tensor, mem: Tensor) -> bool:
    """Whether one program holds what it needs. q: [B, N, D]; mem: [B, M, H]."""
    narrow = _channels(q, mem) <= WIDEST[q.element_size()]
    return narrow and q.shape[1] <= HEADS and _bytes(q, mem, SMALLEST) <= on_chip(q.device)


def _channels(q: Tensor, mem: Tensor) -> int:
    return padded_width(max(q.shape[1] * q.shape[2], mem.shape[2]))


def _bytes(q: Tensor, mem: Tensor, slots: int) -> int:
    """On chip at most: tiles of the memory and of distances, and those that are loaded ahead."""
    return 4 * slots * _channels(q, mem) * q.element_size()


def one_query(
    probe: Tensor, q: Tensor, v_bias: Tensor, rel: Tensor, x: Tensor, mem: Tensor, fill: Tensor, resets: Tensor | None
) -> Tensor:
    """sum_j a_j m_j over the memory and the input itself, [B, N, H] in q's dtype, with

        a = softmax((probe . m_j + (q + v_bias) . rel_j) / sqrt(D))

    probe: [B, N, H], (q + u) W_k; q: [B, N, D]; v_bias: [N, D]; rel: [M+1, N, D] or [B, M+1, N, D]; x: [B, H];
    mem: [B, M, H]; fill: int64 [B]; resets: bool [B] or None. No gradients."""
    if INTERPRETED and q.dtype == torch.bfloat16:  # its products take no bfloat16
        return one_query(probe.float(), q.float(), v_bias, rel, x, mem, fill, resets).bfloat16()
    rows, heads, width = q.shape
    slots, inputs = mem.shape[1:]
    probe = probe if probe.stride(-1) == 1 else probe.contiguous()
    rel = rel.contiguous()
    seen = torch.empty(heads, rows, inputs, dtype=q.dtype, device=q.device)
    block = SLOTS if _bytes(q, mem, SLOTS) <= on_chip(q.device) else SMALLEST
    launch(one_query_kernel, (rows,))(
        probe, q.contiguous(), v_bias.contiguous(), rel, x.contiguous(), mem.contiguous(), fill.contiguous(),
        fill if resets is None else resets.contiguous(), seen, width**-0.5 * LOG2E,
        probe.stride(0), probe.stride(1), rel.stride(0) if rel.dim() == 4 else 0,
        N=heads, M=slots, D=width, H=inputs, BLOCK_N=HEADS, BLOCK_S=block,
        BLOCK_C=padded_width(heads * width), BLOCK_H=padded_width(inputs),
        HAS_RESETS=resets is not None, PRECISION=precision(q),
        num_warps=4, num_stages=1 if torch.version.hip else 2,
    )  # fmt: skip
    return seen.transpose(0, 1)

"""One step of the mLSTM as one Triton kernel: C is read once and written once, and little else moves."""

from __future__ import annotations

import torch
from torch import Tensor

from .._triton import tl, triton
from ..ahead import launch
from ..pointwise.region import rows_of
from .gates import log_sigmoid
from .tiles import step_tile


@triton.jit
def step_kernel(
    q_ptr, k_ptr, v_ptr,  # [B, N, D], rows q_row, k_row, v_row apart
    i_ptr, f_ptr,  # [B, N], rows i_row, f_row apart
    c_ptr, n_ptr, m_ptr,  # [B, N, D, D], [B, N, D], [B, N]
    resets_ptr,  # bool [B]
    h_ptr,  # [B, N, D]
    c_next_ptr, n_next_ptr, m_next_ptr,  # float32
    q_row, k_row, v_row, i_row, f_row,
    scale,
    N: tl.constexpr, D: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, EPS: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_V columns of one head's C."""
    head = tl.program_id(0).to(tl.int64)
    row, n = head // N, head % N
    values = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    limit = D  # of what a reset leaves of the state: nothing is read
    m = tl.load(m_ptr + head).to(tl.float32)
    if HAS_RESETS:
        reset = tl.load(resets_ptr + row) != 0
        limit = tl.where(reset, 0, D)
        m = tl.where(reset, 0.0, m)
    gate = tl.load(i_ptr + row * i_row + n).to(tl.float32)
    carried = log_sigmoid(tl.load(f_ptr + row * f_row + n).to(tl.float32)) + m
    top = tl.maximum(carried, gate)
    keep = tl.exp(carried - top)
    write = tl.exp(gate - top)
    value = tl.load(v_ptr + row * v_row + n * D + values, mask=values < D, other=0.0).to(tl.float32)
    read = tl.zeros((BLOCK_V,), tl.float32)
    dots = tl.zeros((BLOCK_K,), tl.float32)
    for d in range(0, D, BLOCK_K):
        keys = d + tl.arange(0, BLOCK_K)
        q = tl.load(q_ptr + row * q_row + n * D + keys, mask=keys < D, other=0.0).to(tl.float32)
        k = tl.load(k_ptr + row * k_row + n * D + keys, mask=keys < D, other=0.0).to(tl.float32)
        k = k * (write * scale)
        norm = tl.load(n_ptr + head * D + keys, mask=keys < limit, other=0.0).to(tl.float32) * keep + k
        tl.store(n_next_ptr + head * D + keys, norm, mask=keys < tl.where(tl.program_id(1) == 0, D, 0))
        dots += q * norm
        square = keys[:, None] * D + values[None, :]
        there = (keys < D)[:, None] & (values < D)[None, :]
        kept = (keys < limit)[:, None] & (values < D)[None, :]
        c = tl.load(c_ptr + head * D * D + square, mask=kept, other=0.0).to(tl.float32)
        c = c * keep + k[:, None] * value[None, :]
        tl.store(c_next_ptr + head * D * D + square, c, mask=there)
        read += tl.sum(c * q[:, None], 0)
    norm = tl.maximum(tl.abs(tl.sum(dots, 0)), tl.exp(-top)) + EPS
    h = read / norm
    tl.store(h_ptr + head * D + values, h.to(h_ptr.dtype.element_ty), mask=values < D)
    m = top + 0.0 * (keep + write)  # a maximum forgets NaN
    tl.store(m_next_ptr + head, m, mask=tl.program_id(1) == 0)


def step_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    c: Tensor,
    n: Tensor,
    m: Tensor,
    resets: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`step.mlstm_step` without gradients, on a GPU. Everything in float32."""
    rows, heads, width = q.shape
    (q, q_row), (k, k_row), (v, v_row) = (rows_of(x, heads * width) for x in (q, k, v))
    (i, i_row), (f, f_row) = (rows_of(x, heads) for x in (i, f))
    c, n, m = (x.contiguous() for x in (c, n, m))
    h = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    c_next, n_next, m_next = (torch.empty(x.shape, dtype=torch.float32, device=x.device) for x in (c, n, m))
    blocks = step_tile(width)
    launch(step_kernel, (rows * heads, -(-width // blocks["BLOCK_V"])))(
        q, k, v, i, f, c, n, m, q if resets is None else resets.contiguous(), h, c_next, n_next, m_next,
        q_row, k_row, v_row, i_row, f_row, width**-0.5, N=heads, D=width, EPS=eps, HAS_RESETS=resets is not None,
        **blocks,
    )  # fmt: skip
    return h, c_next, n_next, m_next

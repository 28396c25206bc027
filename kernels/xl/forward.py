"""Transformer-XL attention forward as one Triton kernel: a softmax that runs over the keys of a block's window.

Scores are in units of log2, so that exp2 undoes them. `tiles.py` says how pairs lie in memory.
"""

from __future__ import annotations

from .._triton import tl, triton
from .tiles import biased, broken_rows, finite, first_seen, is_broken, rows_of, write_positions

LOWEST = tl.constexpr(-3.0e38)  # below every score; -inf would make -inf - (-inf) of a block where nothing is seen


@triton.jit
def _attend(
    content,
    k_ptr,
    v_ptr,
    pairs_ptr,
    drop_ptr,
    k_t,
    v_t,
    t,
    t0,
    first,
    T,
    M: tl.constexpr,
    D: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    DROP_T: tl.constexpr,
    HAS_DROP: tl.constexpr,
    CAREFUL: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """What a block's queries see: sums of weighted values [BLOCK_Q, BLOCK_D], of weights, and the largest scores."""
    i = (t - t0)[:, None]
    acc = tl.zeros((content.shape[0], BLOCK_D), tl.float32)
    total = tl.zeros((content.shape[0],), tl.float32)
    top = total + LOWEST
    start = t0 + (tl.min(first, 0) - t0) // BLOCK_K * BLOCK_K
    k_ptr += start.to(tl.int64) * k_t
    v_ptr += start.to(tl.int64) * v_t
    for j0 in range(start, tl.minimum(t0 + content.shape[0], T) + M, BLOCK_K):
        j = j0 + tl.arange(0, BLOCK_K)
        here = j < M + T
        seen = (j[None, :] >= first[:, None]) & (j[None, :] <= t[:, None] + M) & (t < T)[:, None]
        k = rows_of(k_ptr, j - j0, k_t, here, D, BLOCK_D)
        position = tl.load(pairs_ptr + (j0 - t0) + i * PITCH + (j - j0)[None, :])  # anything where there is no pair
        score = tl.dot(content, tl.trans(k), position.to(tl.float32), input_precision=PRECISION)
        score = tl.where(seen, score, float("-inf"))
        largest = tl.maximum(top, tl.max(score, 1))
        weight = tl.exp2(score - largest[:, None])
        shrink = tl.exp2(top - largest)
        total = total * shrink + tl.sum(weight, 1)
        if HAS_DROP:
            weight *= tl.load(drop_ptr + i * DROP_T + (j[None, :] - t[:, None]), mask=seen, other=0.0).to(tl.float32)
        v = rows_of(v_ptr, j - j0, v_t, here, D, BLOCK_D)
        if CAREFUL:
            weight = tl.where(seen & (broken_rows(v) > 0)[None, :], float("nan"), weight)
            v = finite(v)
        acc = tl.dot(weight.to(v.dtype), v, acc * shrink[:, None], input_precision=PRECISION)
        top = largest
        k_ptr += BLOCK_K * k_t
        v_ptr += BLOCK_K * v_t
    return acc, total, top


@triton.jit(do_not_specialize=["T"])
def forward_kernel(
    q_ptr,  # [B, T, N, D], strides q_b and q_t
    k_ptr,  # [B, M+T, N, D], strides k_b and k_t
    v_ptr,  # [B, M+T, N, D], strides v_b and v_t
    rel_ptr,  # [M+1, N, D], or one for each row
    u_ptr,  # [N, D]
    v_bias_ptr,  # [N, D]
    fill_ptr,  # [B]
    ids_ptr,  # [B, T]
    drop_ptr,  # [B, T, N, M+1] or [B, N, M+1]
    pairs_ptr,  # of pairs: scratch for scores of positions
    y_ptr,  # [B, T, N, D]
    lse_ptr,  # [B, N, T]
    T,
    factor,  # of scores: log2(e) / sqrt(D)
    q_b,
    q_t,
    k_b,
    k_t,
    v_b,
    v_t,
    rel_b,
    drop_b,
    N: tl.constexpr,
    M: tl.constexpr,
    D: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    DROP_T: tl.constexpr,  # the stride of time, 0 where all steps have the same
    HAS_DROP: tl.constexpr,
    HAS_SEGMENTS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program: one row, one head, BLOCK_Q queries."""
    blocks = tl.cdiv(T, BLOCK_Q)
    pair = (tl.program_id(0) // blocks).to(tl.int64)
    row, head = pair // N, pair % N
    t0 = tl.program_id(0) % blocks * BLOCK_Q
    t = t0 + tl.arange(0, BLOCK_Q)
    real = t < T
    fill = tl.load(fill_ptr + row).to(tl.int32)
    first = first_seen(ids_ptr + row * T, fill, t, t0, T, M, BLOCK_K, HAS_SEGMENTS)

    query = rows_of(q_ptr + row * q_b + t0.to(tl.int64) * q_t + head * D, t - t0, q_t, real, D, BLOCK_D)
    content = biased(query, u_ptr + head * D, factor, D, BLOCK_D)
    position = biased(query, v_bias_ptr + head * D, factor, D, BLOCK_D)
    pairs_ptr += tl.program_id(0).to(tl.int64) * (BLOCK_Q * PITCH)
    write_positions(position, rel_ptr + row * rel_b + head * D, pairs_ptr, N, M, D, PITCH, BLOCK_K, BLOCK_D, PRECISION)
    k_ptr += row * k_b + head * D
    v_ptr += row * v_b + head * D
    drop_ptr += row * drop_b + head * (M + 1) + t0.to(tl.int64) * DROP_T
    acc, total, top = _attend(
        content, k_ptr, v_ptr, pairs_ptr, drop_ptr, k_t, v_t, t, t0, first, T,
        M, D, PITCH, BLOCK_K, BLOCK_D, DROP_T, HAS_DROP, False, PRECISION,
    )  # fmt: skip
    if HAS_SEGMENTS and is_broken(acc):
        acc, total, top = _attend(
            content, k_ptr, v_ptr, pairs_ptr, drop_ptr, k_t, v_t, t, t0, first, T,
            M, D, PITCH, BLOCK_K, BLOCK_D, DROP_T, HAS_DROP, True, PRECISION,
        )  # fmt: skip
    y = acc / total[:, None]
    d = tl.arange(0, BLOCK_D)[None, :]
    y_ptr += ((row * T + t0) * N + head) * D
    tl.store(y_ptr + (t - t0)[:, None] * (N * D) + d, y.to(y_ptr.dtype.element_ty), mask=real[:, None] & (d < D))
    # NaN for a query that sees one: the backward then knows it.
    lse = tl.where(broken_rows(y) > 0, float("nan"), top + tl.log2(total))
    tl.store(lse_ptr + pair * T + t, lse, mask=real)

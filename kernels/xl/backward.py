"""The backward of Transformer-XL attention as Triton kernels: over queries, over keys, over distances, and a sum.

The first recomputes the scores and leaves two numbers for every pair: its weight, and the gradient of its score. The
others only multiply: every number is written once and nothing is added to memory, so the result is the same each time.
"""

from __future__ import annotations

from .._triton import tl, triton
from .tiles import biased, broken_rows, finite, first_seen, is_broken, rows_of, write_positions

LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _differentiate(
    content,
    d_y,
    delta,
    lse,
    k_ptr,
    v_ptr,
    pairs_ptr,
    weight_ptr,
    d_score_ptr,
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
    """Writes the weights and the gradients of the scores of a block's pairs; returns the latter times the keys."""
    i = (t - t0)[:, None]
    d_content = tl.zeros((content.shape[0], BLOCK_D), tl.float32)
    # A softmax over one key has no gradient; the difference would leave a rest of rounding.
    several = tl.where(first < t + M, 1.0, 0.0)[:, None]
    if CAREFUL:
        poisoned = (broken_rows(d_y) > 0)[:, None]  # its gradient is NaN, and that of all that it sees
        muted = (lse != lse)[:, None]  # it saw a NaN, and hands nothing on
    start = t0 + (tl.min(first, 0) - t0) // BLOCK_K * BLOCK_K
    k_ptr += start.to(tl.int64) * k_t
    v_ptr += start.to(tl.int64) * v_t
    for j0 in range(start, tl.minimum(t0 + content.shape[0], T) + M, BLOCK_K):
        j = j0 + tl.arange(0, BLOCK_K)
        here = j < M + T
        seen = (j[None, :] >= first[:, None]) & (j[None, :] <= t[:, None] + M) & (t < T)[:, None]
        k = rows_of(k_ptr, j - j0, k_t, here, D, BLOCK_D)
        v = rows_of(v_ptr, j - j0, v_t, here, D, BLOCK_D)
        at = (j0 - t0) + i * PITCH + (j - j0)[None, :]
        position = tl.load(pairs_ptr + at)  # anything where there is no pair
        score = tl.dot(content, tl.trans(k), position.to(tl.float32), input_precision=PRECISION)
        weight = tl.exp2(tl.where(seen, score - lse[:, None], float("-inf")))
        d_weight = tl.dot(d_y, tl.trans(v), input_precision=PRECISION)
        used = weight
        if HAS_DROP:
            drop = tl.load(drop_ptr + i * DROP_T + (j[None, :] - t[:, None]), mask=seen, other=0.0).to(tl.float32)
            used = weight * drop
            d_weight *= drop
        d_score = tl.where(seen, weight * (d_weight - delta[:, None]) * several, 0.0)
        if CAREFUL:
            used = tl.where(muted, 0.0, used)
            used = tl.where(seen & poisoned, float("nan"), used)
            d_score = tl.where(muted, 0.0, d_score)
            d_score = tl.where(seen & poisoned, float("nan"), d_score)
            k = finite(k)
        tl.store(weight_ptr + at, used.to(weight_ptr.dtype.element_ty))
        tl.store(d_score_ptr + at, d_score.to(d_score_ptr.dtype.element_ty))
        d_content = tl.dot(d_score.to(k.dtype), k, d_content, input_precision=PRECISION)
        k_ptr += BLOCK_K * k_t
        v_ptr += BLOCK_K * v_t
    return d_content


@triton.jit(do_not_specialize=["T"])
def query_kernel(
    q_ptr,  # [B, T, N, D], strides q_b and q_t
    k_ptr,  # [B, M+T, N, D], strides k_b and k_t
    v_ptr,  # [B, M+T, N, D], strides v_b and v_t
    rel_ptr,  # [M+1, N, D], or one for each row
    u_ptr,  # [N, D]
    v_bias_ptr,  # [N, D]
    fill_ptr,  # [B]
    ids_ptr,  # [B, T]
    drop_ptr,  # [B, T, N, M+1] or [B, N, M+1]
    y_ptr,  # [B, T, N, D]
    lse_ptr,  # [B, N, T]
    d_y_ptr,  # [B, T, N, D]
    pairs_ptr,  # of pairs: scratch for scores of positions
    weight_ptr,  # of pairs
    d_score_ptr,  # of pairs
    d_q_ptr,  # [B, T, N, D]
    d_bias_ptr,  # [B, blocks, 2, N, D]: of u and v_bias
    T,
    factor,  # of scores: log2(e) / sqrt(D)
    scale,  # 1 / sqrt(D)
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
    block = tl.program_id(0) % blocks
    pair = (tl.program_id(0) // blocks).to(tl.int64)
    row, head = pair // N, pair % N
    t0 = block * BLOCK_Q
    t = t0 + tl.arange(0, BLOCK_Q)
    real = t < T
    i = (t - t0)[:, None]
    fill = tl.load(fill_ptr + row).to(tl.int32)
    first = first_seen(ids_ptr + row * T, fill, t, t0, T, M, BLOCK_K, HAS_SEGMENTS)

    at_y = ((row * T + t0) * N + head) * D
    y = rows_of(y_ptr + at_y, t - t0, N * D, real, D, BLOCK_D)
    d_y = rows_of(d_y_ptr + at_y, t - t0, N * D, real, D, BLOCK_D)
    delta = tl.sum(y.to(tl.float32) * d_y.to(tl.float32), 1)
    lse = tl.load(lse_ptr + pair * T + t, mask=real, other=0.0)
    query = rows_of(q_ptr + row * q_b + t0.to(tl.int64) * q_t + head * D, t - t0, q_t, real, D, BLOCK_D)
    content = biased(query, u_ptr + head * D, factor, D, BLOCK_D)
    position = biased(query, v_bias_ptr + head * D, factor, D, BLOCK_D)

    at_pairs = tl.program_id(0).to(tl.int64) * (BLOCK_Q * PITCH)
    pairs_ptr += at_pairs
    weight_ptr += at_pairs
    d_score_ptr += at_pairs
    rel_ptr += row * rel_b + head * D
    write_positions(position, rel_ptr, pairs_ptr, N, M, D, PITCH, BLOCK_K, BLOCK_D, PRECISION)

    # pairs of keys that none of these queries sees
    start = t0 + (tl.min(first, 0) - t0) // BLOCK_K * BLOCK_K
    for j0 in range(t0, start, BLOCK_K):
        nothing = tl.zeros((BLOCK_Q, BLOCK_K), weight_ptr.dtype.element_ty)
        at = (j0 - t0) + i * PITCH + tl.arange(0, BLOCK_K)[None, :]
        tl.store(weight_ptr + at, nothing)
        tl.store(d_score_ptr + at, nothing)

    k_ptr += row * k_b + head * D
    v_ptr += row * v_b + head * D
    drop_ptr += row * drop_b + head * (M + 1) + t0.to(tl.int64) * DROP_T
    d_content = _differentiate(
        content, d_y, delta, lse, k_ptr, v_ptr, pairs_ptr, weight_ptr, d_score_ptr, drop_ptr, k_t, v_t,
        t, t0, first, T, M, D, PITCH, BLOCK_K, BLOCK_D, DROP_T, HAS_DROP, False, PRECISION,
    )  # fmt: skip
    if HAS_SEGMENTS and is_broken(d_content):
        tl.debug_barrier()  # the pairs are written again
        d_content = _differentiate(
            content, d_y, delta, lse, k_ptr, v_ptr, pairs_ptr, weight_ptr, d_score_ptr, drop_ptr, k_t, v_t,
            t, t0, first, T, M, D, PITCH, BLOCK_K, BLOCK_D, DROP_T, HAS_DROP, True, PRECISION,
        )  # fmt: skip
    tl.debug_barrier()  # other threads of this program read what was written
    d_position = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    for e0 in range(0, M + 1, BLOCK_K):
        e = e0 + tl.arange(0, BLOCK_K)
        inside = real[:, None] & (e <= M)[None, :]
        d_score = tl.load(d_score_ptr + i * (PITCH + 1) + e[None, :], mask=inside, other=0.0)
        rel = rows_of(rel_ptr, M - e, N * D, e <= M, D, BLOCK_D)
        d_position = tl.dot(d_score, rel, d_position, input_precision=PRECISION)

    d = tl.arange(0, BLOCK_D)
    own = d < D
    d_q = (d_content + d_position) * scale
    tl.store(
        d_q_ptr + at_y + i * (N * D) + d[None, :],
        d_q.to(d_q_ptr.dtype.element_ty),
        mask=real[:, None] & own[None, :],
    )
    d_bias_ptr += ((row * blocks + block) * 2 * N + head) * D
    tl.store(d_bias_ptr + d, tl.sum(d_content, 0) * scale, mask=own)
    tl.store(d_bias_ptr + N * D + d, tl.sum(d_position, 0) * scale, mask=own)


@triton.jit
def _gather(
    q_ptr,
    d_y_ptr,
    u_ptr,
    weight_ptr,
    d_score_ptr,
    q_t,
    factor,
    j,
    j0,
    T,
    N: tl.constexpr,
    M: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CAREFUL: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Sums over the queries that see a block's keys: gradients of keys (in units of log2) and of values."""
    d_k = tl.zeros((j.shape[0], BLOCK_D), tl.float32)
    d_v = tl.zeros((j.shape[0], BLOCK_D), tl.float32)
    start = tl.maximum(j0 - M, 0) // BLOCK_Q * BLOCK_Q
    weight_ptr += start.to(tl.int64) * PITCH
    d_score_ptr += start.to(tl.int64) * PITCH
    d_y_ptr += start.to(tl.int64) * (N * D)
    q_ptr += start.to(tl.int64) * q_t
    for t0 in range(start, tl.minimum(j0 + j.shape[0], T), BLOCK_Q):
        t = t0 + tl.arange(0, BLOCK_Q)
        real = t < T
        c = (j0 - t0 // ROWS * ROWS) + tl.arange(0, BLOCK_K)
        inside = ((c >= 0) & (c < M + ROWS) & (j < M + T))[None, :]
        at = (t - t0)[:, None] * PITCH + c[None, :]
        weight = tl.load(weight_ptr + at, mask=inside, other=0.0)
        d_score = tl.load(d_score_ptr + at, mask=inside, other=0.0)
        d_y = rows_of(d_y_ptr, t - t0, N * D, real, D, BLOCK_D)
        query = rows_of(q_ptr, t - t0, q_t, real, D, BLOCK_D)
        content = biased(query, u_ptr, factor, D, BLOCK_D)
        if CAREFUL:
            d_y = finite(d_y)
            content = finite(content)
        d_v = tl.dot(tl.trans(weight), d_y, d_v, input_precision=PRECISION)
        d_k = tl.dot(tl.trans(d_score), content, d_k, input_precision=PRECISION)
        weight_ptr += BLOCK_Q * PITCH
        d_score_ptr += BLOCK_Q * PITCH
        d_y_ptr += BLOCK_Q * N * D
        q_ptr += BLOCK_Q * q_t
    return d_k, d_v


@triton.jit(do_not_specialize=["T"])
def key_kernel(
    q_ptr,  # [B, T, N, D], strides q_b and q_t
    u_ptr,  # [N, D]
    d_y_ptr,  # [B, T, N, D]
    weight_ptr,  # of pairs
    d_score_ptr,  # of pairs
    d_k_ptr,  # [B, M+T, N, D]
    d_v_ptr,  # [B, M+T, N, D]
    T,
    factor,  # of scores: log2(e) / sqrt(D)
    q_b,
    q_t,
    N: tl.constexpr,
    M: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,  # queries of a block of pairs, whole tiles of BLOCK_Q
    PITCH: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    HAS_SEGMENTS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program: one row, one head, BLOCK_K keys."""
    blocks = tl.cdiv(M + T, BLOCK_K)
    pair = (tl.program_id(0) // blocks).to(tl.int64)
    row, head = pair // N, pair % N
    j0 = tl.program_id(0) % blocks * BLOCK_K
    j = j0 + tl.arange(0, BLOCK_K)
    q_ptr += row * q_b + head * D
    d_y_ptr += (row * T * N + head) * D
    u_ptr += head * D
    size = tl.cdiv(T, ROWS).to(tl.int64) * (ROWS * PITCH)  # of a pair of row and head
    weight_ptr += pair * size
    d_score_ptr += pair * size
    d_k, d_v = _gather(
        q_ptr, d_y_ptr, u_ptr, weight_ptr, d_score_ptr, q_t, factor, j, j0, T,
        N, M, D, ROWS, PITCH, BLOCK_Q, BLOCK_K, BLOCK_D, False, PRECISION,
    )  # fmt: skip
    if HAS_SEGMENTS and is_broken(d_k) | is_broken(d_v):
        d_k, d_v = _gather(
            q_ptr, d_y_ptr, u_ptr, weight_ptr, d_score_ptr, q_t, factor, j, j0, T,
            N, M, D, ROWS, PITCH, BLOCK_Q, BLOCK_K, BLOCK_D, True, PRECISION,
        )  # fmt: skip
    d = tl.arange(0, BLOCK_D)[None, :]
    inside = (j < M + T)[:, None] & (d < D)
    at = ((row * (M + T) + j0) * N + head) * D + (j - j0)[:, None] * (N * D) + d
    tl.store(d_k_ptr + at, (d_k * LN2).to(d_k_ptr.dtype.element_ty), mask=inside)
    tl.store(d_v_ptr + at, d_v.to(d_v_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["T", "blocks", "share"])
def distance_kernel(
    q_ptr,  # [B, T, N, D], strides q_b and q_t
    v_bias_ptr,  # [N, D]
    d_score_ptr,  # of pairs
    d_bias_ptr,  # [B, blocks of queries, 2, N, D]: of u and v_bias
    parts_ptr,  # [parts, M+3, N, D]: of rel, u and v_bias
    T,
    factor,  # of scores: log2(e) / sqrt(D)
    q_b,
    q_t,
    blocks,  # of queries, in all rows
    share,  # how many of them are in one part
    N: tl.constexpr,
    M: tl.constexpr,
    D: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    HAS_SEGMENTS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program: BLOCK_K distances of one head, over the queries of one part."""
    head, part = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    e0 = tl.program_id(0) * BLOCK_K
    e = e0 + tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    own = d < D
    per_row = tl.cdiv(T, BLOCK_Q)
    d_rel = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    d_u = tl.zeros((BLOCK_D,), tl.float32)
    d_v_bias = tl.zeros((BLOCK_D,), tl.float32)
    for block in range(part * share, tl.minimum(part * share + share, blocks)):
        row = (block // per_row).to(tl.int64)
        t0 = block - row * per_row
        bias_ptr = d_bias_ptr + ((row * per_row + t0) * 2 * N + head) * D + d
        pairs_ptr = d_score_ptr + ((row * N + head) * per_row + t0) * (BLOCK_Q * PITCH)
        t0 *= BLOCK_Q
        i = tl.arange(0, BLOCK_Q)
        real = t0 + i < T
        at = i[:, None] * (PITCH + 1) + e[None, :]
        d_score = tl.load(pairs_ptr + at, mask=real[:, None] & (e <= M)[None, :], other=0.0)
        query = rows_of(q_ptr + row * q_b + t0 * q_t + head * D, i, q_t, real, D, BLOCK_D)
        position = biased(query, v_bias_ptr + head * D, factor, D, BLOCK_D)
        if HAS_SEGMENTS:
            position = finite(position)
        d_rel = tl.dot(tl.trans(d_score), position, d_rel, input_precision=PRECISION)
        d_u += tl.load(bias_ptr, mask=own, other=0.0)
        d_v_bias += tl.load(bias_ptr + N * D, mask=own, other=0.0)
    parts_ptr += (part * (M + 3) * N + head) * D
    at = (M - e)[:, None] * (N * D) + d[None, :]
    tl.store(parts_ptr + at, d_rel * LN2, mask=(e <= M)[:, None] & own[None, :])
    if e0 == 0:
        tl.store(parts_ptr + (M + 1) * (N * D) + d, d_u, mask=own)
        tl.store(parts_ptr + (M + 2) * (N * D) + d, d_v_bias, mask=own)


@triton.jit(do_not_specialize=["parts", "size"])
def sum_kernel(parts_ptr, total_ptr, parts, size, BLOCK: tl.constexpr):
    """parts [parts, size] -> total [size]."""
    x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for _ in range(parts):
        total += tl.load(parts_ptr + x, mask=x < size, other=0.0)
        parts_ptr += size
    tl.store(total_ptr + x, total.to(total_ptr.dtype.element_ty), mask=x < size)

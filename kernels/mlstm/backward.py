"""The mLSTM's chunkwise backward as Triton kernels: queries first, keys with values and gates last; the adjoints of the
states come between the two (`adjoints.py`).

Notation as in `forward.py`. Two paths lead to the gates. The first holds every m fixed: what step b adds to what step a
reads (or the chunk's end holds) depends on i_b and on the f between them, so their gradients are sums of such products.
The second is m itself: h depends on it through EPS, the final state by its scale. It is followed in `adjoints.py`.
"""

from __future__ import annotations

from .._triton import tl, triton
from .gates import load_ids, load_log_f, load_log_i, load_square, load_tile, pair_logs, store_tile


@triton.jit(do_not_specialize=["T", "G"])
def queries_kernel(
    q_ptr, k_ptr, v_ptr, i_ptr, f_ptr, ids_ptr,  # as in the forward
    h_ptr, d_h_ptr,  # [B, T, N, D]
    states_ptr, norms_ptr, taints_ptr, tops_ptr, dots_ptr, reads_ptr,  # as the forward left them
    c_ptr, n_ptr,  # the final state, float32 [head, D, D], [head, D]
    d_c_ptr, d_n_ptr, d_m_ptr,  # and its gradients
    d_q_ptr,  # [B, T, N, D]
    inverse_ptr,  # float32 [head, T]: 1 / what h was divided by
    d_dots_ptr, d_tops_ptr,  # float32 [head, T]: gradients of q^T n and of m
    d_f_ptr,  # float32 [head, T]: of log f, by what the chunk's steps read of the state before it
    d_last_ptr,  # float32 [head]: what the final state's gradient gives to the last m
    T, G, q_row, k_row, v_row, i_row, f_row,
    scale,
    N: tl.constexpr, D: tl.constexpr, L: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    EPS: tl.constexpr, PRECISION: tl.constexpr, HAS_RESETS: tl.constexpr,
):  # fmt: skip
    """One program: a chunk of one head; the last program of a head, if there is one more, finds `d_last`. With resets,
    NaN in `d_tops` and `d_last` says that what came in there was not finite; everything else is."""
    head = tl.program_id(0).to(tl.int64)
    g = tl.program_id(1)
    row, n = head // N, head % N
    steps = tl.arange(0, L)
    total = tl.zeros((L,), tl.float32)
    zero = tl.zeros((L,), tl.float32)
    if g < G:
        start = g * L
        count = T - start
        first = row * T + start
        real = steps < count
        at = head * T + start + steps
        tile = states_ptr.dtype.element_ty
        q_ptr += first * q_row + n * D
        k_ptr += first * k_row + n * D
        v_ptr += first * v_row + n * D
        own = first * N * D + n * D
        d_scores = tl.zeros((L, L), tl.float32)  # [b, a]
        for d in range(0, D, BLOCK_V):
            values = d + tl.arange(0, BLOCK_V)
            v = load_tile(v_ptr, v_row, steps, count, values, D, HAS_RESETS)
            h = load_tile(h_ptr + own, N * D, steps, count, values, D, HAS_RESETS)
            d_h = load_tile(d_h_ptr + own, N * D, steps, count, values, D, False)
            if HAS_RESETS:
                zero += tl.sum(d_h.to(tl.float32) * 0.0, 1)
                d_h = tl.where(tl.abs(d_h.to(tl.float32)) < float("inf"), d_h, 0.0)
            total += tl.sum(h.to(tl.float32) * d_h.to(tl.float32), 1)
            d_scores += tl.dot(v.to(tile), tl.trans(d_h.to(tile)), input_precision=PRECISION)
        top = tl.load(tops_ptr + at, mask=real, other=0.0)
        dot = tl.load(dots_ptr + at, mask=real, other=0.0)
        reads = tl.load(reads_ptr + at, mask=real, other=0.0)
        floor = tl.exp(-top)
        inverse = 1.0 / (tl.maximum(tl.abs(dot), floor) + EPS)
        sign = tl.where(dot > 0, 1.0, 0.0) - tl.where(dot < 0, 1.0, 0.0)
        active = tl.where(tl.abs(dot) > floor, sign, 0.0) + tl.where(tl.abs(dot) == floor, 0.5 * sign, 0.0)
        d_dot = -total * inverse * active
        d_top = -total * inverse * EPS
        if HAS_RESETS:
            fine = tl.abs(dot) < float("inf")  # what is NaN does not depend on anything
            inverse = tl.where(fine, inverse, 0.0)
            d_dot = tl.where(fine, d_dot, 0.0)
            d_top = tl.where(fine, d_top, 0.0) + zero
        tl.store(inverse_ptr + at, inverse, mask=real)
        tl.store(d_dots_ptr + at, d_dot, mask=real)
        tl.store(d_tops_ptr + at, d_top, mask=real)

        log_i = load_log_i(i_ptr + first * i_row + n, steps * i_row, real, HAS_RESETS)
        log_f = load_log_f(f_ptr + first * f_row + n, steps * f_row, real, HAS_RESETS)
        ids, _ = load_ids(ids_ptr, row, start, steps, T, HAS_RESETS)
        seen, pairs, _ = pair_logs(log_i, log_f, ids, L, HAS_RESETS)
        weights = tl.where(seen & real[None, :], tl.exp(pairs - top[None, :]) * scale, 0.0)
        d_scores = ((d_scores * inverse[None, :] + d_dot[None, :]) * weights).to(tile)
        taken = tl.zeros((L,), tl.float32)  # what a step takes from the state before the chunk, times its gradient
        for d in range(0, D, BLOCK_K):
            keys = d + tl.arange(0, BLOCK_K)
            norm = tl.load(norms_ptr + (head * G + g) * D + keys, mask=keys < D, other=0.0)
            d_q = tl.zeros((L, BLOCK_K), tl.float32)
            for e in range(0, D, BLOCK_V):
                values = e + tl.arange(0, BLOCK_V)
                d_h = load_tile(d_h_ptr + own, N * D, steps, count, values, D, HAS_RESETS)
                c = load_square(states_ptr + (head * G + g) * D * D, keys, values, D, False)
                d_q += tl.dot(d_h.to(tile), tl.trans(c), input_precision=PRECISION)
            q = load_tile(q_ptr, q_row, steps, count, keys, D, HAS_RESETS)
            k = load_tile(k_ptr, k_row, steps, count, keys, D, HAS_RESETS)
            d_q = (d_q * inverse[:, None] + d_dot[:, None] * norm[None, :]) * reads[:, None]
            taken += tl.sum(q.to(tl.float32) * d_q, 1)
            d_q += tl.dot(tl.trans(d_scores), k.to(tile), input_precision=PRECISION)
            if HAS_RESETS:
                d_q += zero[:, None]
            store_tile(d_q_ptr + own, N * D, steps, count, keys, d_q, D)
        tl.store(d_f_ptr + at, tl.cumsum(taken, 0, reverse=True), mask=real)
    else:
        for e in range(0, D, L):
            rows = e + steps
            d_n = tl.load(d_n_ptr + head * D + rows, mask=rows < D, other=0.0).to(tl.float32)
            total += d_n * tl.load(n_ptr + head * D + rows, mask=rows < D, other=0.0)
            zero += d_n * 0.0
            for d in range(0, D, BLOCK_V):
                values = d + tl.arange(0, BLOCK_V)
                d_c = load_square(d_c_ptr + head * D * D, rows, values, D, False).to(tl.float32)
                total += tl.sum(d_c * load_square(c_ptr + head * D * D, rows, values, D, False), 1)
                zero += tl.sum(d_c * 0.0, 1)
        d_m = tl.load(d_m_ptr + head).to(tl.float32)
        last = d_m - tl.sum(total, 0)
        if HAS_RESETS:
            tainted = tl.load(taints_ptr + head * (G + 1) + G) != 0
            last = tl.where(tainted, 0.0, last) + tl.sum(zero, 0) + d_m * 0.0
        tl.store(d_last_ptr + head, last)


@triton.jit(do_not_specialize=["T", "G"])
def keys_kernel(
    q_ptr, k_ptr, v_ptr, i_ptr, f_ptr, ids_ptr, d_h_ptr,  # as above
    logs_ptr, states_ptr, norms_ptr, maxima_ptr, keeps_ptr, tops_ptr,  # as the forward left them
    inverse_ptr, d_dots_ptr, d_f_read_ptr,  # as `queries_kernel` left them
    d_states_ptr, d_norms_ptr, d_log_i_ptr, d_log_f_ptr,  # as `adjoints_kernel` left them
    d_k_ptr, d_v_ptr,  # [B, T, N, D]
    d_i_ptr, d_f_ptr,  # [B, T, N]
    T, G, q_row, k_row, v_row, i_row, f_row,
    scale,
    N: tl.constexpr, D: tl.constexpr, L: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    PRECISION: tl.constexpr, HAS_RESETS: tl.constexpr,
):  # fmt: skip
    """One program: a chunk of one head."""
    head = tl.program_id(0).to(tl.int64)
    g = tl.program_id(1)
    row, n = head // N, head % N
    start = g * L
    count = T - start
    first = row * T + start
    steps = tl.arange(0, L)
    real = steps < count
    at = head * T + start + steps
    tile = states_ptr.dtype.element_ty
    q_ptr += first * q_row + n * D
    k_ptr += first * k_row + n * D
    v_ptr += first * v_row + n * D
    own = first * N * D + n * D
    square = (head * G + g) * D * D
    vector = (head * G + g) * D

    scores = tl.zeros((L, L), tl.float32)  # [b, a]
    d_scores = tl.zeros((L, L), tl.float32)
    for d in range(0, D, BLOCK_K):
        keys = d + tl.arange(0, BLOCK_K)
        q = load_tile(q_ptr, q_row, steps, count, keys, D, HAS_RESETS)
        k = load_tile(k_ptr, k_row, steps, count, keys, D, HAS_RESETS)
        scores += tl.dot(k.to(tile), tl.trans(q.to(tile)), input_precision=PRECISION)
        v = load_tile(v_ptr, v_row, steps, count, keys, D, HAS_RESETS)
        d_h = load_tile(d_h_ptr + own, N * D, steps, count, keys, D, HAS_RESETS)
        d_scores += tl.dot(v.to(tile), tl.trans(d_h.to(tile)), input_precision=PRECISION)
    i_ptr += first * i_row + n
    f_ptr += first * f_row + n
    log_i = load_log_i(i_ptr, steps * i_row, real, HAS_RESETS)
    log_f = load_log_f(f_ptr, steps * f_row, real, HAS_RESETS)
    ids, _ = load_ids(ids_ptr, row, start, steps, T, HAS_RESETS)
    seen, pairs, _ = pair_logs(log_i, log_f, ids, L, HAS_RESETS)
    top = tl.load(tops_ptr + at, mask=real, other=0.0)
    inverse = tl.load(inverse_ptr + at, mask=real, other=0.0)
    d_dot = tl.load(d_dots_ptr + at, mask=real, other=0.0)
    logs = tl.load(logs_ptr + at, mask=real, other=float("-inf"))
    gains = tl.exp(logs - tl.load(maxima_ptr + head * (G + 1) + g + 1)) * scale
    d_log_i = tl.load(d_log_i_ptr + at, mask=real, other=0.0)
    reached = d_log_i != d_log_i

    weights = tl.where(seen & real[None, :], tl.exp(pairs - top[None, :]) * scale, 0.0)
    d_scores = d_scores * inverse[None, :] + d_dot[None, :]
    shares = scores * weights * d_scores  # what b gives to a, times its gradient
    d_log_i += tl.sum(shares, 1)
    # log f_t lies between every b before t and every a from t on; either may be the state at an end of the chunk
    onward = tl.cumsum(shares, 1, reverse=True)  # [b, t]: to t and later
    d_log_f = tl.sum(tl.where(steps[:, None] < steps[None, :], onward, 0.0), 0)
    d_scores = (d_scores * weights).to(tile)
    scores = (scores * weights * inverse[None, :]).to(tile)

    kept = tl.zeros((BLOCK_K,), tl.float32)  # of C before the chunk in C after it, times its gradient
    for e in range(0, D, BLOCK_V):
        values = e + tl.arange(0, BLOCK_V)
        d_v = tl.zeros((L, BLOCK_V), tl.float32)
        for d in range(0, D, BLOCK_K):
            keys = d + tl.arange(0, BLOCK_K)
            k = load_tile(k_ptr, k_row, steps, count, keys, D, HAS_RESETS)
            c = load_square(states_ptr + square, keys, values, D, False)
            d_c = load_square(d_states_ptr + square, keys, values, D, False)
            d_v += tl.dot(k.to(tile), d_c, input_precision=PRECISION)
            kept += tl.sum(c.to(tl.float32) * d_c.to(tl.float32), 1)
        d_h = load_tile(d_h_ptr + own, N * D, steps, count, values, D, HAS_RESETS)
        d_v = d_v * gains[:, None] + tl.dot(scores, d_h.to(tile), input_precision=PRECISION)
        if HAS_RESETS:
            d_v = tl.where(reached[:, None], float("nan"), d_v)
        store_tile(d_v_ptr + own, N * D, steps, count, values, d_v, D)

    given = tl.zeros((L,), tl.float32)  # what a step gives to the state after the chunk, times its gradient
    for d in range(0, D, BLOCK_K):
        keys = d + tl.arange(0, BLOCK_K)
        norm = tl.load(norms_ptr + vector + keys, mask=keys < D, other=0.0)
        d_norm = tl.load(d_norms_ptr + vector + keys, mask=keys < D, other=0.0)
        kept += norm * d_norm
        d_k = tl.zeros((L, BLOCK_K), tl.float32)
        for e in range(0, D, BLOCK_V):
            values = e + tl.arange(0, BLOCK_V)
            v = load_tile(v_ptr, v_row, steps, count, values, D, HAS_RESETS)
            d_c = load_square(d_states_ptr + square, keys, values, D, False)
            d_k += tl.dot(v.to(tile), tl.trans(d_c), input_precision=PRECISION)
        q = load_tile(q_ptr, q_row, steps, count, keys, D, HAS_RESETS)
        k = load_tile(k_ptr, k_row, steps, count, keys, D, HAS_RESETS)
        d_k = (d_k + d_norm[None, :]) * gains[:, None]
        given += tl.sum(k.to(tl.float32) * d_k, 1)
        d_k += tl.dot(d_scores, q.to(tile), input_precision=PRECISION)
        if HAS_RESETS:
            d_k = tl.where(reached[:, None], float("nan"), d_k)
        store_tile(d_k_ptr + own, N * D, steps, count, keys, d_k, D)

    d_log_i += given
    d_log_f += tl.sum(tl.where(steps[:, None] < steps[None, :], given[:, None], 0.0), 0)
    d_log_f += tl.sum(kept, 0) * tl.load(keeps_ptr + head * G + g)
    d_log_f += tl.load(d_f_read_ptr + at, mask=real, other=0.0) + tl.load(d_log_f_ptr + at, mask=real, other=0.0)
    f = tl.load(f_ptr + steps * f_row, mask=real, other=0.0).to(tl.float32)
    d_f = d_log_f / (1.0 + tl.exp(f))
    if HAS_RESETS:
        d_f = tl.where(f == f, d_f, 0.0)  # its own step is NaN, so nothing depends on it
    gates = first * N + n + steps * N
    tl.store(d_i_ptr + gates, d_log_i.to(d_i_ptr.dtype.element_ty), mask=real)
    tl.store(d_f_ptr + gates, d_f.to(d_f_ptr.dtype.element_ty), mask=real)

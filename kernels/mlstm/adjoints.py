"""The adjoints of the mLSTM's states as a Triton kernel, and those of m, backward in time.

Notation as in `forward.py`. m_t is the larger of log f_t + m_{t-1} and i_t, so its gradient goes to one of the two, and
half to each where they are equal.
"""

from __future__ import annotations

from .._triton import tl, triton
from .gates import load_ids, load_log_f, load_log_i, load_square, load_tile, store_square


@triton.jit
def _chain(weight, value, weight_before, value_before):
    """From later steps to an earlier one: its value, and the later ones through its weight."""
    return weight * weight_before, value_before + weight_before * value


@triton.jit
def _maxima(
    i_ptr, f_ptr, ids_ptr, m_ptr, tops_ptr, d_tops_ptr, d_last_ptr, d_i_ptr, d_f_ptr, d_m_ptr, head, T, i_row, f_row,
    N: tl.constexpr, BLOCK_T: tl.constexpr, HAS_RESETS: tl.constexpr, HAS_FINAL: tl.constexpr,
):  # fmt: skip
    """The second path, for one head, backward in time: what each m takes from its own step and those after it goes on
    to log f and the m before it, or to i. NaN where a gradient that is not finite came in at or after the step."""
    row, n = head // N, head % N
    steps = tl.arange(0, BLOCK_T)
    blocks = (T + BLOCK_T - 1) // BLOCK_T
    after = 0.0
    reached = 0.0
    first = 0.0
    initial = tl.load(m_ptr + head).to(tl.float32)
    if HAS_RESETS:
        initial = tl.where(tl.abs(initial) < float("inf"), initial, 0.0)
    for done in range(0, blocks):
        start = (blocks - 1 - done) * BLOCK_T
        count = T - start
        t = start + steps
        at = row * T + start
        # does m_t come from the step before (1), from its own gate (0), or both; and m_{t+1}
        before = tl.load(tops_ptr + head * T + t - 1, mask=(t > 0) & (t < T), other=0.0)
        here = tl.load(tops_ptr + head * T + t, mask=t < T, other=0.0)
        before = tl.where(t > 0, before, initial)
        follows = t + 1 < T
        same = follows
        if HAS_RESETS:
            ids, _ = load_ids(ids_ptr, row, start, steps, T, True)
            previous = tl.load(ids_ptr + row * T + t - 1, mask=(t > 0) & (t < T), other=0).to(tl.int32)
            before = tl.where(ids == previous, before, 0.0)
            next_id = tl.load(ids_ptr + row * T + t + 1, mask=follows, other=-1).to(tl.int32)
            same = next_id == ids
        log_i = load_log_i(i_ptr + at * i_row + n, steps * i_row, steps < count, HAS_RESETS)
        log_f = load_log_f(f_ptr + at * f_row + n, steps * f_row, steps < count, HAS_RESETS)
        kept = tl.where(log_f + before > log_i, 1.0, tl.where(log_f + before == log_i, 0.5, 0.0))
        next_i = load_log_i(i_ptr + at * i_row + n, (steps + 1) * i_row, follows, HAS_RESETS)
        next_f = load_log_f(f_ptr + at * f_row + n, (steps + 1) * f_row, follows, HAS_RESETS)
        passed = tl.where(next_f + here > next_i, 1.0, tl.where(next_f + here == next_i, 0.5, 0.0))
        passed = tl.where(same, passed, 0.0)
        own = tl.load(d_tops_ptr + head * T + t, mask=t < T, other=0.0)
        if HAS_FINAL:
            own += tl.where(t == T - 1, tl.load(d_last_ptr + head), 0.0)
        if HAS_RESETS:
            odd = tl.where(tl.abs(own) < float("inf"), 0.0, 1.0)
            own = tl.where(odd > 0, 0.0, own)
            linked = tl.where(same, 1.0, 0.0)
            links, odds = tl.associative_scan((linked, odd), 0, _chain, reverse=True)
            odds += links * reached
            reached = tl.sum(tl.where(steps == 0, odds, 0.0), 0)
        weights, d_top = tl.associative_scan((passed, own), 0, _chain, reverse=True)
        d_top += weights * after
        after = tl.sum(tl.where(steps == 0, d_top, 0.0), 0)
        first = after * tl.sum(tl.where(steps == 0, kept, 0.0), 0)
        if HAS_RESETS:
            d_top = tl.where(odds > 0, float("nan"), d_top)
            first = tl.where(reached > 0, float("nan"), first)
            first = tl.where(tl.load(ids_ptr + row * T) == 0, first, 0.0)
        tl.store(d_f_ptr + head * T + t, d_top * kept, mask=t < T)
        tl.store(d_i_ptr + head * T + t, d_top * (1.0 - kept), mask=t < T)
    tl.store(d_m_ptr, first)


@triton.jit(do_not_specialize=["T", "G"])
def adjoints_kernel(
    q_ptr, i_ptr, f_ptr, ids_ptr,  # as in the forward
    d_h_ptr,  # [B, T, N, D]
    c_ptr, n_ptr, m_ptr,  # the incoming state
    d_c_ptr, d_n_ptr,  # gradients of the final state
    taints_ptr, keeps_ptr, tops_ptr, reads_ptr,  # as the forward left them
    inverse_ptr, d_dots_ptr, d_tops_ptr, d_last_ptr,  # as `queries_kernel` left them
    d_states_ptr,  # [head, G, D, D]: gradient of C after each chunk
    d_norms_ptr,  # float32 [head, G, D]: of n
    d_i_ptr, d_f_ptr,  # float32 [head, T]: of the log gates, by the second path
    d_c0_ptr, d_n0_ptr,  # of the incoming C and n, float32
    d_m0_ptr,  # parts of that of m, float32 [head, tiles + 1]
    T, G, q_row, i_row, f_row,
    N: tl.constexpr, D: tl.constexpr, L: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_T: tl.constexpr, PRECISION: tl.constexpr, HAS_RESETS: tl.constexpr, HAS_FINAL: tl.constexpr,
    NEED_STATE: tl.constexpr,
):  # fmt: skip
    """One program: a block of the gradient of one head's C, from chunk to chunk backward; the last program of a head
    follows m."""
    head = tl.program_id(0).to(tl.int64)
    row, n = head // N, head % N
    columns: tl.constexpr = (D + BLOCK_V - 1) // BLOCK_V
    tiles: tl.constexpr = columns * ((D + BLOCK_K - 1) // BLOCK_K)
    part = tl.program_id(1)
    if part == tiles:
        _maxima(
            i_ptr, f_ptr, ids_ptr, m_ptr, tops_ptr, d_tops_ptr, d_last_ptr, d_i_ptr, d_f_ptr,
            d_m0_ptr + head * (tiles + 1) + tiles, head, T, i_row, f_row, N, BLOCK_T, HAS_RESETS, HAS_FINAL,
        )  # fmt: skip
    else:
        keys = (part // columns) * BLOCK_K + tl.arange(0, BLOCK_K)
        values = (part % columns) * BLOCK_V + tl.arange(0, BLOCK_V)
        own = keys < tl.where(part % columns == 0, D, 0)  # whose n this program writes
        steps = tl.arange(0, L)
        tile = d_states_ptr.dtype.element_ty
        d_c = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
        d_n = tl.zeros((BLOCK_K,), tl.float32)
        reached = 0
        if HAS_FINAL:
            d_c += load_square(d_c_ptr + head * D * D, keys, values, D, HAS_RESETS).to(tl.float32)
            d_n += tl.load(d_n_ptr + head * D + keys, mask=keys < D, other=0.0).to(tl.float32)
            if HAS_RESETS:
                tainted = tl.load(taints_ptr + head * (G + 1) + G) != 0
                d_c = tl.where(tainted, 0.0, d_c)
                d_n = tl.where(tl.abs(d_n) < float("inf"), tl.where(tainted, 0.0, d_n), 0.0)
                ends = tl.load(ids_ptr + row * T + T - 1) == 0
                fine = tl.abs(tl.load(d_last_ptr + head)) < float("inf")
                reached = tl.where(ends & (fine == 0), 1, 0)
        for done in range(0, G):
            g = G - 1 - done
            store_square(d_states_ptr + (head * G + g) * D * D, keys, values, d_c, D)
            tl.store(d_norms_ptr + (head * G + g) * D + keys, d_n, mask=own)
            start = g * L
            count = T - start
            first = row * T + start
            at = head * T + start + steps
            keep = tl.load(keeps_ptr + head * G + g)
            reads = tl.load(reads_ptr + at, mask=steps < count, other=0.0)
            inverse = tl.load(inverse_ptr + at, mask=steps < count, other=0.0)
            d_dot = tl.load(d_dots_ptr + at, mask=steps < count, other=0.0)
            q = load_tile(q_ptr + first * q_row + n * D, q_row, steps, count, keys, D, HAS_RESETS)
            d_h = load_tile(d_h_ptr + first * N * D + n * D, N * D, steps, count, values, D, HAS_RESETS)
            if HAS_RESETS:
                ids, before = load_ids(ids_ptr, row, start, steps, T, True)
                d_c = tl.where(tl.max(ids, 0) == before, d_c, 0.0)
                d_n = tl.where(tl.max(ids, 0) == before, d_n, 0.0)
                d_top = tl.load(d_tops_ptr + at, mask=(steps < count) & (ids == 0), other=0.0)
                reached = tl.maximum(reached, tl.max(tl.where(tl.abs(d_top) < float("inf"), 0, 1), 0))
            read = q.to(tl.float32) * (reads * inverse)[:, None]
            d_c = d_c * keep + tl.dot(tl.trans(read.to(tile)), d_h.to(tile), input_precision=PRECISION)
            d_n = d_n * keep + tl.sum(q.to(tl.float32) * (reads * d_dot)[:, None], 0)
        if NEED_STATE:
            c = load_square(c_ptr + head * D * D, keys, values, D, HAS_RESETS).to(tl.float32)
            norm = tl.load(n_ptr + head * D + keys, mask=own, other=0.0).to(tl.float32)
            if HAS_RESETS:
                norm = tl.where(tl.abs(norm) < float("inf"), norm, 0.0)
            d_m = tl.sum(tl.sum(c * d_c, 1) + norm * d_n, 0)
            tl.store(d_m0_ptr + head * (tiles + 1) + part, d_m)
            if HAS_RESETS:
                d_c = tl.where(reached > 0, float("nan"), d_c)
                d_n = tl.where(reached > 0, float("nan"), d_n)
            store_square(d_c0_ptr + head * D * D, keys, values, d_c, D)
            tl.store(d_n0_ptr + head * D + keys, d_n, mask=own)

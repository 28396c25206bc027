"""The mLSTM's chunkwise forward as Triton kernels: gates, states, outputs.

Notation: B rows, T steps, N heads, D head width, G chunks of L steps; "head" in a buffer's shape is a row's head, B N
of them. Matrices are multiplied in the dtype of `states`, bfloat16 or float32; sums, gates and n are float32. Only the
states follow each other; what they need of gates is found for all chunks at once before.
"""

from __future__ import annotations

from .._triton import tl, triton
from .gates import load_ids, load_log_f, load_log_i, load_square, load_tile, pair_logs, store_square, store_tile


@triton.jit(do_not_specialize=["T", "G"])
def gates_kernel(
    k_ptr, v_ptr,  # [B, T, N, D], rows k_row, v_row apart
    i_ptr, f_ptr,  # [B, T, N], rows i_row, f_row apart
    ids_ptr,  # [B, T]
    c_ptr, n_ptr, m_ptr,  # the incoming state [head, D, D], [head, D], [head]
    logs_ptr,  # float32 [head, T]: with what log weight a step is in the state at the end of its chunk
    reach_ptr,  # float32 [head, G]: log f summed over the steps of the chunk's last segment
    peaks_ptr,  # float32 [head, G]: the largest log weight
    bad_ptr,  # int8 [head, T]: steps that would write NaN or inf into the state
    bad_state_ptr,  # int8 [head, PARTS], PARTS a power of two: whether the incoming state has any
    T, G, k_row, v_row, i_row, f_row,
    N: tl.constexpr, D: tl.constexpr, PARTS: tl.constexpr, L: tl.constexpr, BLOCK: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):  # fmt: skip
    """One program: a chunk of one head, or with resets L rows of its C. NaN and inf are found as 0 x != 0."""
    head = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    row, n = head // N, head % N
    steps = tl.arange(0, L)
    channels = tl.arange(0, BLOCK)
    zero = tl.zeros((L,), tl.float32)
    if part < G:
        start = part * L
        count = T - start
        first = row * T + start
        i_ptr += first * i_row + n
        f_ptr += first * f_row + n
        log_i = load_log_i(i_ptr, steps * i_row, steps < count, HAS_RESETS)
        log_f = load_log_f(f_ptr, steps * f_row, steps < count, HAS_RESETS)
        following = load_log_f(f_ptr, (steps + 1) * f_row, (steps + 1 < count) & (steps < L - 1), HAS_RESETS)
        logs = tl.cumsum(following, 0, reverse=True) + log_i
        if HAS_RESETS:
            ids, _ = load_ids(ids_ptr, row, start, steps, T, True)
            last = ids == tl.max(ids, 0)  # ids never fall
            logs = tl.where(last, logs, float("-inf"))
            log_f = tl.where(last, log_f, 0.0)
            for d in range(0, D, BLOCK):
                k = load_tile(k_ptr + first * k_row + n * D, k_row, steps, count, d + channels, D, False)
                v = load_tile(v_ptr + first * v_row + n * D, v_row, steps, count, d + channels, D, False)
                zero += tl.sum(k.to(tl.float32) * 0.0 + v.to(tl.float32) * 0.0, 1)
            i = tl.load(i_ptr + steps * i_row, mask=steps < count, other=0.0).to(tl.float32)
            f = tl.load(f_ptr + steps * f_row, mask=steps < count, other=0.0).to(tl.float32)
            # a gate of -inf is closed, not broken
            bad = (zero != 0.0) | (i != i) | (i == float("inf")) | (f != f)
            tl.store(bad_ptr + head * T + start + steps, bad.to(tl.int8), mask=steps < count)
        peak = tl.max(logs, 0)
        peak = tl.where(tl.max((logs != logs).to(tl.int32), 0) > 0, float("nan"), peak)  # a maximum forgets NaN
        tl.store(logs_ptr + head * T + start + steps, logs, mask=steps < count)
        tl.store(reach_ptr + head * G + part, tl.sum(log_f, 0))
        tl.store(peaks_ptr + head * G + part, peak)
    else:
        rows = (part - G) * L + steps
        for d in range(0, D, BLOCK):
            c = load_square(c_ptr + head * D * D, rows, d + channels, D, False).to(tl.float32)
            zero += tl.sum(c * 0.0, 1)
        zero += tl.load(n_ptr + head * D + rows, mask=rows < D, other=0.0).to(tl.float32) * 0.0
        zero += tl.load(m_ptr + head).to(tl.float32) * 0.0
        tl.store(bad_state_ptr + head * PARTS + part - G, tl.max((zero != 0.0).to(tl.int32), 0).to(tl.int8))


@triton.jit(do_not_specialize=["T", "G"])
def states_kernel(
    k_ptr, v_ptr,  # as above
    ids_ptr,  # [B, T]
    c_ptr, n_ptr, m_ptr,  # the incoming state
    logs_ptr, reach_ptr, peaks_ptr, bad_ptr, bad_state_ptr,  # as `gates_kernel` left them
    states_ptr,  # [head, G, D, D]: C before each chunk
    norms_ptr,  # float32 [head, G, D]: n
    maxima_ptr,  # float32 [head, G + 1]: m, and the final one
    taints_ptr,  # int8 [head, G + 1]: whether they should be NaN
    keeps_ptr,  # float32 [head, G]: what C before the chunk is multiplied by in C after it
    c_next_ptr, n_next_ptr, m_next_ptr,  # the final state, float32
    T, G, k_row, v_row,
    scale,
    N: tl.constexpr, D: tl.constexpr, PARTS: tl.constexpr, L: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, PRECISION: tl.constexpr, HAS_RESETS: tl.constexpr,
):  # fmt: skip
    """One program: a block of one head's C, from chunk to chunk."""
    head = tl.program_id(0).to(tl.int64)
    row, n = head // N, head % N
    keys = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    values = tl.program_id(2) * BLOCK_V + tl.arange(0, BLOCK_V)
    own = keys < tl.where(tl.program_id(2) == 0, D, 0)  # whose n this program writes
    first_tile = (tl.program_id(1) + tl.program_id(2)) == 0
    steps = tl.arange(0, L)
    tile = states_ptr.dtype.element_ty
    c = load_square(c_ptr + head * D * D, keys, values, D, HAS_RESETS).to(tl.float32)
    norm = tl.load(n_ptr + head * D + keys, mask=keys < D, other=0.0).to(tl.float32)
    m = tl.load(m_ptr + head).to(tl.float32)
    tainted = 0
    if HAS_RESETS:
        norm = tl.where(tl.abs(norm) < float("inf"), norm, 0.0)
        m = tl.where(tl.abs(m) < float("inf"), m, 0.0)
        tainted = tl.max(tl.load(bad_state_ptr + head * PARTS + tl.arange(0, PARTS)).to(tl.int32), 0)
    for g in range(0, G):
        store_square(states_ptr + (head * G + g) * D * D, keys, values, c, D)
        tl.store(norms_ptr + (head * G + g) * D + keys, norm, mask=own)
        tl.store(maxima_ptr + head * (G + 1) + g, m, mask=first_tile)
        start = g * L
        count = T - start
        first = row * T + start
        logs = tl.load(logs_ptr + head * T + start + steps, mask=steps < count, other=float("-inf"))
        peak = tl.load(peaks_ptr + head * G + g)
        old = tl.load(reach_ptr + head * G + g)
        k = load_tile(k_ptr + first * k_row + n * D, k_row, steps, count, keys, D, HAS_RESETS)
        v = load_tile(v_ptr + first * v_row + n * D, v_row, steps, count, values, D, HAS_RESETS)
        whole = True
        if HAS_RESETS:
            tl.store(taints_ptr + head * (G + 1) + g, tainted, mask=first_tile)
            ids, before = load_ids(ids_ptr, row, start, steps, T, True)
            last = tl.max(ids, 0)
            whole = last == before  # the chunk is one episode with what came before
            m = tl.where(whole, m, 0.0)  # an episode begins with m = 0, and nothing else
            c = tl.where(whole, c, 0.0)
            norm = tl.where(whole, norm, 0.0)
            bad = tl.load(bad_ptr + head * T + start + steps, mask=(steps < count) & (ids == last), other=0)
            tainted = tl.maximum(tl.where(whole, tainted, 0), tl.max(bad.to(tl.int32), 0))
        old += m
        m = tl.maximum(old, peak, propagate_nan=tl.PropagateNan.ALL)
        keep = tl.exp(old - m)
        written = k.to(tl.float32) * (tl.exp(logs - m) * scale)[:, None]
        c = c * keep + tl.dot(tl.trans(written.to(tile)), v.to(tile), input_precision=PRECISION)
        norm = norm * keep + tl.sum(written, 0)
        tl.store(keeps_ptr + head * G + g, tl.where(whole, keep, 0.0), mask=first_tile)
    tl.store(maxima_ptr + head * (G + 1) + G, m, mask=first_tile)
    if HAS_RESETS:
        tl.store(taints_ptr + head * (G + 1) + G, tainted, mask=first_tile)
        c = tl.where(tainted > 0, float("nan"), c)
        norm = tl.where(tainted > 0, float("nan"), norm)
        m = tl.where(tainted > 0, float("nan"), m)
    store_square(c_next_ptr + head * D * D, keys, values, c, D)
    tl.store(n_next_ptr + head * D + keys, norm, mask=own)
    tl.store(m_next_ptr + head, m, mask=first_tile)


@triton.jit(do_not_specialize=["T", "G"])
def outputs_kernel(
    q_ptr, k_ptr, v_ptr, i_ptr, f_ptr, ids_ptr, bad_ptr,  # as above
    states_ptr, norms_ptr, maxima_ptr, taints_ptr,  # as `states_kernel` left them
    h_ptr,  # [B, T, N, D]
    tops_ptr,  # float32 [head, T]: m after each step
    dots_ptr,  # float32 [head, T]: q^T n, NaN where h is
    reads_ptr,  # float32 [head, T]: what C before the chunk is multiplied by in h's numerator
    T, G, q_row, k_row, v_row, i_row, f_row,
    scale,
    N: tl.constexpr, D: tl.constexpr, L: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    EPS: tl.constexpr, PRECISION: tl.constexpr, HAS_RESETS: tl.constexpr,
):  # fmt: skip
    """One program: a chunk of one head, BLOCK_V channels of h: from its own steps by attention, from the state before
    the chunk by one product."""
    head = tl.program_id(0).to(tl.int64)
    g = tl.program_id(1)
    row, n = head // N, head % N
    start = g * L
    count = T - start
    first = row * T + start
    steps = tl.arange(0, L)
    values = tl.program_id(2) * BLOCK_V + tl.arange(0, BLOCK_V)
    tile = states_ptr.dtype.element_ty
    scores = tl.zeros((L, L), tl.float32)
    carried = tl.zeros((L, BLOCK_V), tl.float32)
    carried_dot = tl.zeros((L,), tl.float32)
    poison = tl.zeros((L,), tl.float32)
    for d in range(0, D, BLOCK_K):
        keys = d + tl.arange(0, BLOCK_K)
        q = load_tile(q_ptr + first * q_row + n * D, q_row, steps, count, keys, D, False)
        k = load_tile(k_ptr + first * k_row + n * D, k_row, steps, count, keys, D, HAS_RESETS)
        c = load_square(states_ptr + (head * G + g) * D * D, keys, values, D, False)
        norm = tl.load(norms_ptr + (head * G + g) * D + keys, mask=keys < D, other=0.0)
        if HAS_RESETS:
            poison += tl.sum(q.to(tl.float32) * 0.0, 1)
            q = tl.where(tl.abs(q.to(tl.float32)) < float("inf"), q, 0.0)
        scores += tl.dot(k.to(tile), tl.trans(q.to(tile)), input_precision=PRECISION)
        carried += tl.dot(q.to(tile), c, input_precision=PRECISION)
        carried_dot += tl.sum(q.to(tl.float32) * norm[None, :], 1)
    v = load_tile(v_ptr + first * v_row + n * D, v_row, steps, count, values, D, HAS_RESETS)
    log_i = load_log_i(i_ptr + first * i_row + n, steps * i_row, steps < count, HAS_RESETS)
    log_f = load_log_f(f_ptr + first * f_row + n, steps * f_row, steps < count, HAS_RESETS)
    ids, before = load_ids(ids_ptr, row, start, steps, T, HAS_RESETS)
    seen, pairs, reach = pair_logs(log_i, log_f, ids, L, HAS_RESETS)
    m = tl.load(maxima_ptr + head * (G + 1) + g)
    old = reach + m
    if HAS_RESETS:
        old = tl.where(ids == before, old, reach)
    top = tl.maximum(old, tl.max(pairs, 0))
    reads = tl.exp(old - top)
    if HAS_RESETS:
        reads = tl.where(ids == before, reads, 0.0)
        carried = tl.where((ids == before)[:, None], carried, 0.0)
        carried_dot = tl.where(ids == before, carried_dot, 0.0)
    weights = tl.where(seen, scores * scale * tl.exp(pairs - top[None, :]), 0.0)
    dot = tl.sum(weights, 0) + reads * carried_dot
    norm = tl.maximum(tl.abs(dot), tl.exp(-top)) + EPS
    h = tl.dot(tl.trans(weights.to(tile)), v.to(tile), input_precision=PRECISION) + carried * reads[:, None]
    h = h / norm[:, None]
    if HAS_RESETS:
        bad = tl.load(bad_ptr + head * T + start + steps, mask=steps < count, other=0).to(tl.int32)
        within = tl.max(tl.where(seen, bad[:, None], 0), 0) > 0
        tainted = tl.load(taints_ptr + head * (G + 1) + g).to(tl.int32)
        within = within | (tl.where(ids == before, tainted, 0) > 0) | (poison != 0.0)
        h = tl.where(within[:, None], float("nan"), h)
        dot = tl.where(within, float("nan"), dot)
    store_tile(h_ptr + first * N * D + n * D, N * D, steps, count, values, h, D)
    own = steps < tl.where(tl.program_id(2) == 0, count, 0)
    tl.store(tops_ptr + head * T + start + steps, top, mask=own)
    tl.store(dots_ptr + head * T + start + steps, dot, mask=own)
    tl.store(reads_ptr + head * T + start + steps, reads, mask=own)

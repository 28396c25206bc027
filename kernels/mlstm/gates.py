"""What the Triton kernels of the mLSTM share: gates, the log weights inside a chunk, tiles of rows.

Notation: a chunk has L steps; in a matrix [L, L] the first axis is the step b that writes, the second the step a that
reads. Where there are resets, tiles are loaded without their NaN and inf: a masked product would spread them into other
episodes. What must be NaN in the end is known from flags and written where results are stored.
"""

from __future__ import annotations

from .._triton import tl, triton


@triton.jit
def log_sigmoid(x):
    """log sigmoid(x) with few ulps of error at every size, as a long memory adds up thousands of them.

    log(1 + e) = 2 artanh(s) with s = e / (2 + e) <= 1/3, by its series."""
    e = tl.exp(-tl.abs(x))
    s = e / (2.0 + e)
    series = s * s * (1.0 / 17) + 1.0 / 15
    for n in tl.static_range(13, 0, -2):
        series = series * (s * s) + 1.0 / n
    return tl.minimum(x, 0.0) - 2.0 * s * series


@triton.jit
def load_log_i(i_ptr, offsets, real, CLEAN: tl.constexpr):
    """Log input gates in float32: a step which is not real writes nothing."""
    x = tl.load(i_ptr + offsets, mask=real, other=float("-inf")).to(tl.float32)
    if CLEAN:
        x = tl.where((x != x) | (x == float("inf")), 0.0, x)
    return x


@triton.jit
def load_log_f(f_ptr, offsets, real, CLEAN: tl.constexpr):
    """Log forget gates in float32: a step which is not real forgets nothing."""
    x = tl.load(f_ptr + offsets, mask=real, other=0.0).to(tl.float32)
    if CLEAN:
        x = tl.where(x != x, 0.0, x)
    return tl.where(real, log_sigmoid(x), 0.0)


@triton.jit
def load_tile(ptr, stride, steps, count, channels, D: tl.constexpr, CLEAN: tl.constexpr):
    """[L, BLOCK] of rows `stride` apart, zeros beyond `count` rows and D channels. `ptr` is at the first row, so that
    offsets inside the tile fit 32 bits."""
    mask = (steps < count)[:, None] & (channels < D)[None, :]
    x = tl.load(ptr + steps[:, None] * stride + channels[None, :], mask=mask, other=0.0)
    if CLEAN:
        x = tl.where(tl.abs(x.to(tl.float32)) < float("inf"), x, 0.0)
    return x


@triton.jit
def store_tile(ptr, stride, steps, count, channels, x, D: tl.constexpr):
    """The inverse of `load_tile`."""
    mask = (steps < count)[:, None] & (channels < D)[None, :]
    tl.store(ptr + steps[:, None] * stride + channels[None, :], x.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def load_square(ptr, rows, columns, D: tl.constexpr, CLEAN: tl.constexpr):
    """A block of a matrix [D, D]."""
    mask = (rows < D)[:, None] & (columns < D)[None, :]
    x = tl.load(ptr + rows[:, None] * D + columns[None, :], mask=mask, other=0.0)
    if CLEAN:
        x = tl.where(tl.abs(x.to(tl.float32)) < float("inf"), x, 0.0)
    return x


@triton.jit
def store_square(ptr, rows, columns, x, D: tl.constexpr):
    """The inverse of `load_square`."""
    mask = (rows < D)[:, None] & (columns < D)[None, :]
    tl.store(ptr + rows[:, None] * D + columns[None, :], x.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def load_ids(ids_ptr, row, start, steps, T, HAS_RESETS: tl.constexpr):
    """Segments of a chunk's steps [L] and of the step before the chunk; steps past the end belong to the last
    segment, the incoming state to segment 0."""
    if HAS_RESETS:
        ids = tl.load(ids_ptr + row * T + tl.minimum(start + steps, T - 1)).to(tl.int32)
        before = tl.load(ids_ptr + row * T + start - 1, mask=start > 0, other=0).to(tl.int32)
    else:
        ids = steps * 0
        before = start * 0
    return ids, before


@triton.jit
def pair_logs(log_i, log_f, ids, L: tl.constexpr, HAS_RESETS: tl.constexpr):
    """[L] each -> which pairs (b, a) are seen: b <= a of one segment; their log weights log_f(b+1) + .. + log_f(a) +
    log_i(b), -inf elsewhere; and log_f summed from the first step of a's segment in the chunk through a.

    Sums, never differences of sums: a gate that is closed costs the others no digits."""
    step = tl.arange(0, L)
    seen = step[:, None] <= step[None, :]
    if HAS_RESETS:
        seen = seen & (ids[:, None] == ids[None, :])
    later = seen & (step[:, None] < step[None, :])
    between = tl.cumsum(tl.where(later, log_f[None, :], 0.0), 1)
    pairs = tl.where(seen, between + log_i[:, None], float("-inf"))
    return seen, pairs, tl.sum(tl.where(seen, log_f[:, None], 0.0), 0)

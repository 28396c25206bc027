"""Sums in a tile [features, channels] of one head, as tiles again. `real` says which lanes count."""

from __future__ import annotations

from ._triton import AVAILABLE, INTERPRETED, tl, triton

# Channels of a head up to which several sums are taken in one reduction: those of one warp. Between warps a tuple is
# exchanged more slowly than its parts, as measured on an H100; and the interpreter reduces one number by number.
_ONE_WARP = 0 if INTERPRETED else 64
TOGETHER = tl.constexpr(_ONE_WARP) if AVAILABLE else _ONE_WARP


@triton.jit
def over_lanes(a: tl.tensor, real: tl.tensor) -> tl.tensor:
    """The sum over channels of a tile [features, channels], a column; `real` says which lanes count"""
    return tl.sum(tl.where(real, a, 0.0), 1, keep_dims=True)


@triton.jit
def over_features(a: tl.tensor, real: tl.tensor) -> tl.tensor:
    """The sum over features of a tile [features, channels], a row"""
    return tl.sum(tl.where(real, a, 0.0), 0, keep_dims=True)


@triton.jit
def _add_2(a: tl.tensor, b: tl.tensor, c: tl.tensor, d: tl.tensor) -> tuple[tl.tensor, ...]:
    return a + c, b + d


@triton.jit
def _add_3(a: tl.tensor, b: tl.tensor, c: tl.tensor, d: tl.tensor, e: tl.tensor, f: tl.tensor) -> tuple[tl.tensor, ...]:
    return a + d, b + e, c + f


@triton.jit
def over_lanes_2(a: tl.tensor, b: tl.tensor, real: tl.tensor) -> tuple[tl.tensor, ...]:
    """`over_lanes` of two tiles at once"""
    if real.shape[1] > TOGETHER:
        return over_lanes(a, real), over_lanes(b, real)
    else:
        given = tl.where(real, a, 0.0), tl.where(real, b, 0.0)
        return tl.reduce(given, 1, _add_2, keep_dims=True)


@triton.jit
def over_lanes_3(a: tl.tensor, b: tl.tensor, c: tl.tensor, real: tl.tensor) -> tuple[tl.tensor, ...]:
    """`over_lanes` of three tiles at once"""
    if real.shape[1] > TOGETHER:
        return over_lanes(a, real), over_lanes(b, real), over_lanes(c, real)
    else:
        given = tl.where(real, a, 0.0), tl.where(real, b, 0.0), tl.where(real, c, 0.0)
        return tl.reduce(given, 1, _add_3, keep_dims=True)


@triton.jit
def over_head_2(a: tl.tensor, b: tl.tensor, real: tl.tensor) -> tuple[tl.tensor, ...]:
    """`over_head` of two tiles at once"""
    a, b = over_lanes_2(a, b, real)
    return tl.sum(a, 0, keep_dims=True), tl.sum(b, 0, keep_dims=True)


@triton.jit
def over_head_3(a: tl.tensor, b: tl.tensor, c: tl.tensor, real: tl.tensor) -> tuple[tl.tensor, ...]:
    """`over_head` of three tiles at once"""
    a, b, c = over_lanes_3(a, b, c, real)
    return tl.sum(a, 0, keep_dims=True), tl.sum(b, 0, keep_dims=True), tl.sum(c, 0, keep_dims=True)


@triton.jit
def over_head(a: tl.tensor, real: tl.tensor) -> tl.tensor:
    """The sum of a tile, as a tile of one number"""
    return tl.sum(tl.sum(tl.where(real, a, 0.0), 1, keep_dims=True), 0, keep_dims=True)


@triton.jit
def finite(a: tl.tensor) -> tl.tensor:
    """`a`, and 0 for NaN and inf"""
    return tl.where(tl.abs(a) < float("inf"), a, 0.0)

"""Sums in a tile [features, channels] of one head, as tiles again. `real` says which lanes count."""

from __future__ import annotations

from .._triton import INTERPRETED, tl, triton

# Channels of a head up to which several sums are taken in one reduction: those of one warp. Between warps a tuple is
# exchanged more slowly than its parts, as measured on an H100; and the interpreter reduces one number by number.
TOGETHER = tl.constexpr(0 if INTERPRETED else 64)


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
def _lanes_2(a: tl.tensor, b: tl.tensor) -> tuple[tl.tensor, ...]:
    if a.shape[1] > TOGETHER:
        return tl.sum(a, 1, keep_dims=True), tl.sum(b, 1, keep_dims=True)
    else:
        return tl.reduce((a, b), 1, _add_2, keep_dims=True)


@triton.jit
def _lanes_3(a: tl.tensor, b: tl.tensor, c: tl.tensor) -> tuple[tl.tensor, ...]:
    if a.shape[1] > TOGETHER:
        return tl.sum(a, 1, keep_dims=True), tl.sum(b, 1, keep_dims=True), tl.sum(c, 1, keep_dims=True)
    else:
        return tl.reduce((a, b, c), 1, _add_3, keep_dims=True)


@triton.jit
def over_lanes_2(a: tl.tensor, b: tl.tensor, real: tl.tensor) -> tuple[tl.tensor, ...]:
    """`over_lanes` of two tiles at once"""
    return _lanes_2(tl.where(real, a, 0.0), tl.where(real, b, 0.0))


@triton.jit
def over_lanes_3(a: tl.tensor, b: tl.tensor, c: tl.tensor, real: tl.tensor) -> tuple[tl.tensor, ...]:
    """`over_lanes` of three tiles at once"""
    return _lanes_3(tl.where(real, a, 0.0), tl.where(real, b, 0.0), tl.where(real, c, 0.0))


@triton.jit
def over_head(a: tl.tensor, real: tl.tensor) -> tl.tensor:
    """The sum of a tile, as a tile of one number: over features first, of which a thread has several"""
    return tl.sum(over_features(a, real), 1, keep_dims=True)


@triton.jit
def over_head_2(a: tl.tensor, b: tl.tensor, real: tl.tensor) -> tuple[tl.tensor, ...]:
    """`over_head` of two tiles at once"""
    return _lanes_2(over_features(a, real), over_features(b, real))


@triton.jit
def over_head_3(a: tl.tensor, b: tl.tensor, c: tl.tensor, real: tl.tensor) -> tuple[tl.tensor, ...]:
    """`over_head` of three tiles at once"""
    return _lanes_3(over_features(a, real), over_features(b, real), over_features(c, real))


@triton.jit
def finite(a: tl.tensor) -> tl.tensor:
    """`a`, and 0 for NaN and inf"""
    return tl.where(tl.abs(a) < float("inf"), a, 0.0)

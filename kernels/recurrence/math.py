"""Functions that Triton's language lacks, or has in a form that some targets lack. Values in float32."""

from __future__ import annotations

from .._triton import tl, triton


@triton.jit
def sigmoid(a: tl.tensor) -> tl.tensor:
    """1 / (1 + exp(-a))"""
    return 1.0 / (1.0 + tl.exp(-a))


@triton.jit
def tanh(a: tl.tensor) -> tl.tensor:
    """2 sigmoid(2a) - 1: absolute error near 1e-7"""
    return 2.0 / (1.0 + tl.exp(-2.0 * a)) - 1.0


@triton.jit
def log_sigmoid(a: tl.tensor) -> tl.tensor:
    """log sigmoid(a), without overflow on either side"""
    return tl.minimum(a, 0.0) - tl.log(1.0 + tl.exp(-tl.abs(a)))


@triton.jit
def expm1(a: tl.tensor) -> tl.tensor:
    """exp(a) - 1 without cancellation: the series to a^10 where |a| < 1/2, whose next term is below 3e-11 of the sum"""
    near = 1.0 + 0.1 * a
    for n in tl.static_range(9, 1, -1):
        near = 1.0 + a * near / n
    return tl.where(tl.abs(a) < 0.5, a * near, tl.exp(a) - 1.0)

"""A matrix product whose terms are cut into slices, for products with few rows and columns and many terms."""

from __future__ import annotations

from .._triton import tl, triton


@triton.jit
def sliced_dot(a: tl.tensor, b: tl.tensor, total: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """`total` + a b for each slice: a [S, M, K], b [S, K, N], total [S, M, N]. Triton gives slices to groups of warps;
    a single one is multiplied as plain matrices, whose columns it spreads over all warps."""
    S: tl.constexpr = a.shape[0]
    M: tl.constexpr = a.shape[1]
    K: tl.constexpr = a.shape[2]
    N: tl.constexpr = b.shape[2]
    if S == 1:
        flat = tl.dot(
            tl.reshape(a, (M, K)), tl.reshape(b, (K, N)), tl.reshape(total, (M, N)), input_precision=PRECISION
        )
        total = tl.reshape(flat, (1, M, N))
    else:
        total = tl.dot(a, b, total, input_precision=PRECISION)
    return total

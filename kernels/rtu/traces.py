"""The traces of the full-rank input maps over a whole sequence: two matrix products, no loop over time.

Notation: B rows, T steps, H channels, J inputs of a channel (= H). Seen as complex numbers, z = c1 + i c2 and
ρ = r exp(iθ), the loop of `reference.py` is E_t = ρ E_{t-1} + γ u_t, so

    E_T = ρ^T E_0 + γ Σ_t ρ^{T-t} u_t,

real and imaginary part of the sum being E_w1; E_w2 is the same turned by a right angle. Steps before the last reset
of a row have weight 0, by selection.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..precision import accumulate_dtype, full_precision

Traces = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.no_grad()
def rtu_traces(
    u: Tensor,
    nu: Tensor,
    theta: Tensor,
    w1_c1: Tensor,
    w1_c2: Tensor,
    w2_c1: Tensor,
    w2_c2: Tensor,
    segments: Tensor | None = None,
) -> Traces:
    """u: [B, T, J], what both maps read; nu, theta: [H]; traces: [B, H, J], entry (h, j) for entry (h, j) of a map;
    segments: int64 [B, T] or None. Returns the four traces after the last step, in float32 at least."""
    dtype, steps = accumulate_dtype(u), u.shape[1]
    # Angles grow with T, so the powers of ρ are taken in float64: [T+1, H].
    decay, angle = torch.exp(nu.double()), torch.exp(theta.double())
    age = torch.arange(steps, -1, -1, device=u.device, dtype=torch.float64)[:, None]
    size = torch.exp(-decay * age)
    real, imaginary = (size * torch.cos(angle * age)).to(dtype), (size * torch.sin(angle * age)).to(dtype)
    gamma = torch.sqrt(-torch.expm1(-2 * decay)).to(dtype)[:, None]
    u = u.to(dtype)
    kept = None
    if segments is not None:
        u = torch.where((segments == segments[:, -1:])[..., None], u, 0)
        kept = (segments[:, -1] == 0)[:, None, None]
    with full_precision(u):
        columns = torch.cat([real[1:], imaginary[1:]], 1).T @ u  # [B, 2H, J]
    along, across = (gamma * part for part in columns.chunk(2, 1))
    g, phi = real[0][:, None], imaginary[0][:, None]
    added = (along, across, -across, along)
    old = [e.to(dtype) for e in (w1_c1, w1_c2, w2_c1, w2_c2)]
    if kept is not None:
        old = [torch.where(kept, e, 0.0) for e in old]
    a1, a2, b1, b2 = old
    turned = (g * a1 - phi * a2, g * a2 + phi * a1, g * b1 - phi * b2, g * b2 + phi * b1)
    first, second, third, fourth = (t + a for t, a in zip(turned, added, strict=True))
    return first, second, third, fourth


def rtu_traces_step(
    u: Tensor,
    nu: Tensor,
    theta: Tensor,
    w1_c1: Tensor,
    w1_c2: Tensor,
    w2_c1: Tensor,
    w2_c2: Tensor,
    resets: Tensor | None = None,
) -> Traces:
    """One step of `rtu_traces`. u: [B, J]; resets: bool [B] or None."""
    segments = None if resets is None else resets.to(torch.int64)[:, None]
    return rtu_traces(u[:, None], nu, theta, w1_c1, w1_c2, w2_c1, w2_c2, segments)

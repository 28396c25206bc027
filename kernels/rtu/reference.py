"""The traces of the full-rank input maps as a plain loop over time: the oracle of `traces.py`.

With c1_t = g c1_{t-1} - φ c2_{t-1} + γ W_c1 u_t and c2_t = g c2_{t-1} + φ c1_{t-1} + γ W_c2 u_t (arXiv 2409.01449), the
derivative of channel h with respect to row h of a map is a rotation of itself plus the input:

    E_w1,t = ρ E_w1,t-1 + γ_h (u_t, 0)ᵀ,   E_w2,t = ρ E_w2,t-1 + γ_h (0, u_t)ᵀ,   ρ = [[g, -φ], [φ, g]]
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..precision import accumulate_dtype


@torch.no_grad()
def rtu_traces_reference(
    u: Tensor,
    nu: Tensor,
    theta: Tensor,
    w1_c1: Tensor,
    w1_c2: Tensor,
    w2_c1: Tensor,
    w2_c2: Tensor,
    segments: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shapes as in `traces.rtu_traces`."""
    dtype = accumulate_dtype(u)
    u, nu, theta = u.to(dtype), nu.to(dtype), theta.to(dtype)
    radius = torch.exp(-torch.exp(nu))
    g, phi = (radius * torch.cos(theta.exp()))[:, None], (radius * torch.sin(theta.exp()))[:, None]
    gamma = torch.sqrt(-torch.expm1(-2 * torch.exp(nu)))[:, None]
    traces = [e.to(dtype) for e in (w1_c1, w1_c2, w2_c1, w2_c2)]
    before = torch.zeros(u.shape[0], dtype=torch.int64, device=u.device)
    for t in range(u.shape[1]):
        if segments is not None:
            fresh = (segments[:, t] != before)[:, None, None]
            before = segments[:, t]
            traces = [torch.where(fresh, 0.0, e) for e in traces]
        added = gamma * u[:, t, None, :]  # [B, H, J]
        a1, a2, b1, b2 = traces
        traces = [g * a1 - phi * a2 + added, g * a2 + phi * a1, g * b1 - phi * b2, g * b2 + phi * b1 + added]
    return traces[0], traces[1], traces[2], traces[3]

"""AGaLiTe as a plain loop over time: the oracle of `op.py`.

arXiv 2310.15719, in the letters of the spec (core `Ag`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..precision import accumulate_dtype


def agalite_reference(
    inputs: Tensor,
    features: Tensor,
    tilde_k: Tensor,
    tilde_v: Tensor,
    s: Tensor,
    tick: Tensor,
    resets: Tensor | None = None,
    *,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Shapes as in `op.agalite`."""
    dtype, out = accumulate_dtype(inputs), inputs.dtype
    k, q, v, beta, gamma = inputs.to(dtype).unbind(-2)
    p1, p2, p3 = features.to(dtype).unbind(-2)
    tilde_k, tilde_v, s = (x.to(dtype) for x in (tilde_k, tilde_v, s))
    terms = tilde_k.shape[1]
    omega = torch.linspace(-math.pi, math.pi, terms, dtype=dtype, device=q.device)
    outputs = []
    for t in range(q.shape[1]):
        if resets is not None:
            fresh = resets[:, t]
            tilde_k = torch.where(fresh[:, None, None, None], torch.zeros_like(tilde_k), tilde_k)
            tilde_v = torch.where(fresh[:, None, None, None], torch.zeros_like(tilde_v), tilde_v)
            s = torch.where(fresh[:, None, None], torch.zeros_like(s), s)
            tick = torch.where(fresh, torch.ones_like(tick), tick)
        key = torch.einsum("bne,bnd->bned", p1[:, t].relu(), k[:, t].relu()).flatten(2)
        query = torch.einsum("bne,bnd->bned", p2[:, t].relu(), q[:, t].relu()).flatten(2)
        gate = torch.einsum("bne,bnd->bned", p3[:, t].sigmoid(), gamma[:, t].sigmoid()).flatten(2)
        write = beta[:, t].sigmoid()
        wave = torch.cos((tick[:, None] + 1) * omega)[:, :, None, None]
        tilde_k = (1 - gate)[:, None] * tilde_k + wave * (gate * key)[:, None]
        tilde_v = (1 - write)[:, None] * tilde_v + wave * (write * v[:, t])[:, None]
        s = (1 - gate) * s + gate * key
        tick = tick + 1
        weights = torch.einsum("brnc,bnc->brn", tilde_k, query)
        numerator = torch.einsum("brn,brnd->bnd", weights, tilde_v)
        outputs.append(numerator / (2 * terms * (s * query).sum(-1) + eps)[..., None])
    return torch.stack(outputs, 1).to(out), tilde_k, tilde_v, s, tick

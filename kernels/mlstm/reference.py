"""mLSTM as a plain loop over time, in the letters of the paper: the oracle of `chunkwise.py` and `step.py`.

xLSTM, arXiv 2405.04517, eqs. 19-27, stabilised as in its appendix, with the choices of the spec (core `M`): k is scaled
by 1/sqrt(D), m starts at 0, and h divides by max(|q^T n|, exp(-m)) + 1e-6.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..precision import accumulate_dtype


def mlstm_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    c: Tensor,
    n: Tensor,
    m: Tensor,
    segments: Tensor | None = None,
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Arguments and shapes as in `chunkwise.mlstm`; there are no chunks here."""
    dtype, out = accumulate_dtype(q, k, v), q.dtype
    q, k, v, i, f, c, n, m = (x.to(dtype) for x in (q, k, v, i, f, c, n, m))
    n, m = n[..., 0], m[..., 0, 0]
    before = torch.zeros(q.shape[0], dtype=torch.int64, device=q.device)
    outputs = []
    for t in range(q.shape[1]):
        if segments is not None:
            fresh = segments[:, t] != before
            before = segments[:, t]
            c = torch.where(fresh[:, None, None, None], torch.zeros_like(c), c)
            n = torch.where(fresh[:, None, None], torch.zeros_like(n), n)
            m = torch.where(fresh[:, None], torch.zeros_like(m), m)
        log_f = F.logsigmoid(f[:, t])
        m_next = torch.maximum(log_f + m, i[:, t])
        f_gate = torch.exp(log_f + m - m_next)
        i_gate = torch.exp(i[:, t] - m_next)
        m = m_next
        key = k[:, t] / q.shape[-1] ** 0.5
        c = f_gate[..., None, None] * c + i_gate[..., None, None] * torch.einsum("bnd,bne->bnde", key, v[:, t])
        n = f_gate[..., None] * n + i_gate[..., None] * key
        numerator = torch.einsum("bnd,bnde->bne", q[:, t], c)
        denominator = torch.maximum((q[:, t] * n).sum(-1).abs(), torch.exp(-m)) + 1e-6
        outputs.append(numerator / denominator[..., None])
    return torch.stack(outputs, 1).to(out), c, n[..., None], m[..., None, None]

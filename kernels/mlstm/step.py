"""One step of the mLSTM.

Notation: B rows, N heads, D head width; i, f are gate pre-activations, before exp and sigmoid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..precision import accumulate_dtype, full_precision
from ..segments import reset_state

EPS = 1e-6

State = tuple[Tensor, Tensor, Tensor, Tensor]


def mlstm_step(
    q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, c: Tensor, n: Tensor, m: Tensor, resets: Tensor | None = None
) -> State:
    """xLSTM (arXiv 2405.04517) eqs. 19-27 for one step, with k' = k / sqrt(D):

        m_t = max(log sigmoid(f_t) + m_{t-1}, i_t)
        C_t = exp(log sigmoid(f_t) + m_{t-1} - m_t) C_{t-1} + exp(i_t - m_t) k'_t v_t^T,  n_t likewise with k'_t
        h_t = q_t^T C_t / (max(|q_t^T n_t|, exp(-m_t)) + 1e-6)

    q, k, v: [B, N, D]; i, f: [B, N]; c: [B, N, D, D] (keys by values); n: [B, N, D, 1]; m: [B, N, 1, 1]; resets: bool
    [B] or None. Returns h [B, N, D] in q's dtype and the next c, n, m in float32 (float64 for float64 inputs).
    """
    dtype = accumulate_dtype(q, k, v)
    with full_precision(q):
        c, n, m = (reset_state(s.to(dtype), resets) for s in (c, n, m))
        key = (k.to(dtype) * k.shape[-1] ** -0.5)[..., None]
        gate = i.to(dtype)[..., None, None]
        carried = F.logsigmoid(f.to(dtype))[..., None, None] + m
        m = torch.maximum(carried, gate)
        keep, write = torch.exp(carried - m), torch.exp(gate - m) * key
        c = keep * c + write * v.to(dtype)[..., None, :]
        n = keep * n + write
        query = q.to(dtype)[..., None, :]
        norm = torch.maximum((query @ n).abs(), torch.exp(-m)) + EPS
        h = (query @ c / norm).squeeze(-2)
    return h.to(q.dtype), c, n, m

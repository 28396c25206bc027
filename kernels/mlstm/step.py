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
CACHE = 1 << 20  # bytes that stay close to a core

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
        n = keep * n + write
        query = q.to(dtype)[..., None, :]
        c, read = _advance(c, keep, write, v.to(dtype)[..., None, :], query)
        norm = torch.maximum((query @ n).abs(), torch.exp(-m)) + EPS
        h = (read / norm).squeeze(-2)
    return h.to(q.dtype), c, n, m


def _advance(c: Tensor, keep: Tensor, write: Tensor, value: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """keep C + write value, and query times it: [B, N, D, D] and [B, N, 1, D].

    On a CPU the memory of many rows passes through the cache once and not five times: a few rows are finished before
    the next are begun. Autograd wants each result whole.
    """
    size = c[0].numel() * c.element_size() if c.shape[0] else 0
    whole = torch.is_grad_enabled() or c.device.type != "cpu" or torch.compiler.is_compiling()
    if whole or c.numel() * c.element_size() <= CACHE:
        c = torch.addcmul(keep * c, write, value)
        return c, query @ c
    after, read = torch.empty_like(c, memory_format=torch.contiguous_format), torch.empty_like(query)
    rows = max(1, CACHE // (2 * size))
    for first in range(0, c.shape[0], rows):
        part = slice(first, first + rows)
        torch.mul(c[part], keep[part], out=after[part]).addcmul_(write[part], value[part])
        torch.matmul(query[part], after[part], out=read[part])
    return after, read

"""One step of the mLSTM.

Notation: B rows, N heads, D head width; i, f are gate pre-activations, before exp and sigmoid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..overwrite import may_overwrite, rows_in_cache
from ..precision import accumulate_dtype, cast, full_precision
from ..recycle import empty
from ..segments import reset_state
from .fused_step import step_fused
from .tiles import runs_fused

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
    tracked = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, i, f, c, n, m))
    if not tracked and not torch.compiler.is_compiling() and runs_fused(q, k, v):
        return step_fused(q, k, v, i, f, c, n, m, resets, EPS)
    dtype = accumulate_dtype(q, k, v)
    with full_precision(q):
        n, m = (reset_state(cast(s, dtype), resets) for s in (n, m))
        key = (cast(k, dtype) * k.shape[-1] ** -0.5)[..., None]
        gate = cast(i, dtype)[..., None, None]
        carried = F.logsigmoid(cast(f, dtype))[..., None, None] + m
        m = torch.maximum(carried, gate)
        keep, write = torch.exp(carried - m), torch.exp(gate - m) * key
        n = keep * n + write
        query, value = cast(q, dtype)[..., None, :], cast(v, dtype)[..., None, :]
        whole = torch.is_grad_enabled() or c.device.type != "cpu" or torch.compiler.is_compiling()
        if whole or c.dtype != dtype:
            c = torch.addcmul(keep * reset_state(cast(c, dtype), resets), write, value)
            read = query @ c
        else:
            c, read = _in_blocks(c, resets, keep, write, value, query)
        norm = torch.maximum((query @ n).abs(), torch.exp(-m)) + EPS
        h = (read / norm).squeeze(-2)
    return cast(h, q.dtype), c, n, m


def _in_blocks(
    c: Tensor, resets: Tensor | None, keep: Tensor, write: Tensor, value: Tensor, query: Tensor
) -> tuple[Tensor, Tensor]:
    """keep C + write value, and query times it: [B, N, D, D] and [B, N, 1, D].

    The memory of many rows passes through the cache of a CPU once and not five times: a few rows are finished before
    the next are begun. In place where it may be. Not under autograd, which wants each result whole.
    """
    own = may_overwrite(c)
    after = c if own else empty(c.shape, c)
    read = torch.empty_like(query)
    rows = rows_in_cache(c[:1].numel() * c.element_size() * (1 if own else 2))
    for first in range(0, c.shape[0], rows):
        part = slice(first, first + rows)
        now = after[part]
        if resets is None:
            torch.mul(c[part], keep[part], out=now)
        else:
            now.copy_(reset_state(c[part], resets[part])).mul_(keep[part])
        now.addcmul_(write[part], value[part])
        torch.bmm(query[part].flatten(0, 1), now.flatten(0, 1), out=read[part].flatten(0, 1))
    return after, read

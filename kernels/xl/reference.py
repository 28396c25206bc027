"""Transformer-XL attention as a plain loop over queries with the visible keys of each: the oracle of this folder.

Transformer-XL, arXiv 1901.02860, section 3.3, with the window of the spec (core `X`): the query at position p of an
episode sees positions max(0, p - M) .. p, and nothing else.

    score(p, j) = ((q_p + u) . k_j + (q_p + v) . W_r R(p - j)) / sqrt(D)
"""

from __future__ import annotations

import torch
from torch import Tensor


def xl_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel: Tensor,
    u: Tensor,
    v_bias: Tensor,
    fill: Tensor,
    segments: Tensor | None = None,
    drop: Tensor | None = None,
) -> Tensor:
    """Shapes as in `sequence.xl_attention`."""
    steps, width, slots = q.shape[1], q.shape[-1], rel.shape[-3] - 1
    here = torch.zeros_like(fill)[:, None].expand(-1, steps) if segments is None else segments
    # The episode of every key of [memory, inputs]; -1 for a slot which is not real.
    memory = torch.where(torch.arange(slots, device=fill.device) >= slots - fill[:, None], 0, -1)
    keys_of = torch.cat([memory, here], 1)
    distances = rel.flip(-3).expand(q.shape[0], *rel.shape[-3:])  # one for each row, or one for all
    outputs = []
    for t in range(steps):
        window = slice(t, t + slots + 1)  # the last of them is the query's own
        content = torch.einsum("bnd,bsnd->bns", q[:, t] + u, k[:, window])
        position = torch.einsum("bnd,bsnd->bns", q[:, t] + v_bias, distances)
        hidden = keys_of[:, window] != here[:, t, None]
        scores = ((content + position) / width**0.5).masked_fill(hidden[:, None], float("-inf"))
        weights = torch.softmax(scores, -1)
        if drop is not None:
            weights = weights * (drop if drop.dim() == 3 else drop[:, t])
        outputs.append(torch.einsum("bns,bsnd->bnd", weights, v[:, window]))
    return torch.stack(outputs, 1)

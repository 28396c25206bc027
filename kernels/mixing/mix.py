"""Weights over the expert axis. E experts, H channels; ``…`` is ``B, T`` or ``B``.

Softmax runs in float32 at least, whatever the dtype of the model (spec: precision).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..precision import accumulate_dtype


def contract(equation: str, a: Tensor, b: Tensor) -> Tensor:
    """`torch.einsum` in the dtype of ``b``: what weighs may be float32 where what is weighed is narrower."""
    return torch.einsum(equation, a.to(b.dtype), b)


def softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis, in float32 at least; returns the dtype of ``x``."""
    return torch.softmax(x, -1, dtype=accumulate_dtype(x)).to(x.dtype)


def prior(scores: Tensor, top_k: int | None) -> Tensor:
    """log-softmax of the router's scores ``[E]`` over the ``top_k`` best, ``-inf`` for the others.

    The chosen experts keep their gradient; a tie is broken by the lower index, so the support is deterministic."""
    scores = scores.to(accumulate_dtype(scores))
    if top_k is not None and top_k < scores.shape[-1]:
        order = torch.sort(scores.detach(), descending=True, stable=True).indices[..., :top_k]
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, True)
        scores = scores.masked_fill(~chosen, float("-inf"))
    return torch.log_softmax(scores, -1)


def mask_experts(scores: Tensor, logits: Tensor) -> Tensor:
    """Hide from the mixer (``[…, E, F]``) the experts which the router ruled out (logits ``[…, F]`` of ``-inf``)."""
    return scores.masked_fill(logits.unsqueeze(-2) == float("-inf"), float("-inf"))


def column_mix(
    x: Tensor,
    u: Tensor,
    query: Tensor,
    offset: Tensor,
    logits: Tensor,
    outputs: tuple[Tensor, ...],
    scale: float,
    sparse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Both weighted sums of a column over its experts' deltas Δ_e = outputs_e - u.

    x, u, query, outputs_e: ``[…, H]``; offset: ``[E, H]``; logits: ``[…, E]``, or ``[E]`` for all tokens alike; sparse:
    whether there may be ``-inf`` among them, which rules an expert out.
    Returns ``Σ_e α_e Δ_e + (u - x)`` and ``Σ_f β_f Δ_f``, both ``[…, H]``, where α = softmax(logits),
    A_ef = softmax_f((query + offset_e)·Δ_f · scale) and β_f = Σ_e α_e A_ef."""
    deltas = torch.stack(outputs, -2) - u.unsqueeze(-2)  # […, F, H]
    shared = (deltas * query.unsqueeze(-2)).sum(-1, dtype=accumulate_dtype(x))  # […, F]
    own = deltas @ offset.T.to(deltas.dtype)  # […, F, E]
    scores = (shared.unsqueeze(-2) + own.transpose(-1, -2)) * scale
    attention = torch.softmax(mask_experts(scores, logits) if sparse else scores, -1)  # […, E, F]
    alpha = torch.softmax(logits, -1, dtype=attention.dtype)  # […, E]
    beta = (alpha.unsqueeze(-1) * attention).sum(-2)  # […, F]
    weights = torch.stack((alpha.expand_as(beta), beta), -2).to(deltas.dtype)  # […, 2, F]
    main, mixed = (weights @ deltas).unbind(-2)
    return main + (u - x), mixed

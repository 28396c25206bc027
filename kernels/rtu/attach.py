"""What a detached state still knows of the parameters: its eligibility traces, tied to it.

A state that comes in without a gradient was made by parameters which are still the same. With λ the adjoint of that
state, their gradient along the past is λ·E, for E = ∂state/∂parameter (spec: Axon, traces). `rtu_attach` returns the
state unchanged and gives λ·E to the parameters in the backward. Where the state requires grad, autograd carries this
term into the call before, and nothing is added.

The diagonal unit does this inside its recurrence; there a trace is one number a channel, which the full-rank maps
outgrow: their traces are [B, H, J].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..precision import full_precision


class _Attach(torch.autograd.Function):
    """One state variable [B, H] with vectors [H] and their traces [B, H], maps [H, J] and theirs [B, H, J].

    A map may be one for each row, [B, H, J] (or [1, H, J]): then so is its gradient."""

    @staticmethod
    def forward(ctx: Any, state: Tensor, fresh: Tensor | None, vectors: int, *rest: Tensor) -> Tensor:
        params, traces = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        ctx.vectors, ctx.kinds = vectors, [(p.dtype, p.shape) for p in params]
        ctx.save_for_backward(fresh, *traces)
        return state.view_as(state)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
        fresh, *traces = ctx.saved_tensors
        if fresh is not None:
            adjoint = torch.where(fresh[:, None], 0.0, adjoint)
        # A row whose past does not matter has an adjoint of 0, and its traces may hold anything.
        silent = adjoint == 0
        grads: list[Tensor] = []
        with full_precision(adjoint):
            for place, trace in enumerate(traces):
                trace = trace.to(adjoint.dtype)
                if place < ctx.vectors:
                    grads.append(torch.where(silent, 0.0, adjoint * trace).sum(0))
                else:
                    heard = torch.where(silent[..., None], 0.0, trace)
                    grads.append((adjoint[..., None] * heard).sum_to_size(ctx.kinds[place][1]))
        found = [g.to(dtype) for g, (dtype, _) in zip(grads, ctx.kinds, strict=True)]
        return (None, None, None, *found, *(None for _ in traces))


def rtu_attach(
    hc1: Tensor,
    hc2: Tensor,
    nu: Tensor,
    theta: Tensor,
    weight1: Tensor,
    weight2: Tensor,
    nu_c1: Tensor,
    nu_c2: Tensor,
    th_c1: Tensor,
    th_c2: Tensor,
    w1_c1: Tensor,
    w1_c2: Tensor,
    w2_c1: Tensor,
    w2_c2: Tensor,
    segments: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """hc1, hc2: [B, H]; nu, theta: [H]; weight1, weight2: [H, J], or [B, H, J] with one map for each row; traces of the
    vectors [B, H], of the maps [B, H, J]; segments: int64 [B, T] or None. Returns hc1 and hc2."""
    fresh = None if segments is None else segments[:, 0] > 0
    return _attach(
        hc1, hc2, (nu, theta, weight1, weight2), (nu_c1, th_c1, w1_c1, w2_c1), (nu_c2, th_c2, w1_c2, w2_c2), fresh
    )


def rtu_attach_step(
    hc1: Tensor,
    hc2: Tensor,
    nu: Tensor,
    theta: Tensor,
    weight1: Tensor,
    weight2: Tensor,
    nu_c1: Tensor,
    nu_c2: Tensor,
    th_c1: Tensor,
    th_c2: Tensor,
    w1_c1: Tensor,
    w1_c2: Tensor,
    w2_c1: Tensor,
    w2_c2: Tensor,
    resets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`rtu_attach` before one step; resets: bool [B] or None."""
    return _attach(
        hc1, hc2, (nu, theta, weight1, weight2), (nu_c1, th_c1, w1_c1, w2_c1), (nu_c2, th_c2, w1_c2, w2_c2), resets
    )


def _attach(
    hc1: Tensor,
    hc2: Tensor,
    params: tuple[Tensor, ...],
    first: tuple[Tensor, ...],
    second: tuple[Tensor, ...],
    fresh: Tensor | None,
) -> tuple[Tensor, Tensor]:
    found = []
    for state, traces in ((hc1, first), (hc2, second)):
        attached = state.requires_grad
        found.append(state if attached else _Attach.apply(state, fresh, 2, *params, *(e.detach() for e in traces)))
    return found[0], found[1]

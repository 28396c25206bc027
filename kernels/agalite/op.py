"""AGaLiTe: its recurrence from equations, between the projections and the state as the spec lays it out.

Notation: B rows, T steps, N heads, D head width, E = eta features, C = E D, R = r terms. The equations stand in
``compiler/library/recurrences/agalite.py``; of the R frequencies, spread over [-π, π], half are the others mirrored and
have equal sums, so only the first half is computed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..recurrence import RecurrenceOp

State = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def agalite(
    recurrence: RecurrenceOp,
    inputs: Tensor,
    features: Tensor,
    tilde_k: Tensor,
    tilde_v: Tensor,
    s: Tensor,
    tick: Tensor,
    resets: Tensor | None = None,
    *,
    impl: str = "auto",
) -> State:
    """arXiv 2310.15719 in the letters of the spec (core `Ag`); the gates are pre-activations.

    recurrence: the generated one, for these R terms; inputs: [B, T, N, 5, D], k q v beta gamma; features:
    [B, T, N, 3, E], p1 p2 p3; tilde_k: [B, R, N, C]; tilde_v: [B, R, N, D]; s: [B, N, C]; tick: int64 [B], 1 at the
    start of an episode; resets: bool [B, T] or None. Returns the output [B, T, N, D] in the inputs' dtype and the next
    tilde_k, tilde_v, s (float32, or float64 for float64 inputs) and tick. Of a state whose mirrored terms differ,
    which no sequence makes, the mean is taken.
    """
    ticks = _ticks(tick, resets, inputs.shape[1])
    x = inputs, features, _wave(ticks, tilde_k.shape[1], inputs)
    (y,), after, _ = recurrence.sequence(x, (), None, _opened(tilde_k, tilde_v, s, features), (), resets, impl=impl)
    return y, *_closed(after, tilde_k.shape[1]), ticks[:, -1] + 1


def agalite_step(
    recurrence: RecurrenceOp,
    inputs: Tensor,
    features: Tensor,
    tilde_k: Tensor,
    tilde_v: Tensor,
    s: Tensor,
    tick: Tensor,
    resets: Tensor | None = None,
    *,
    impl: str = "auto",
) -> State:
    """One step of `agalite`: inputs and features without T; resets: bool [B] or None."""
    tick = tick if resets is None else torch.where(resets, 1, tick)
    x = inputs, features, _wave(tick, tilde_k.shape[1], inputs)
    (y,), after, _ = recurrence.step(x, (), None, _opened(tilde_k, tilde_v, s, features), (), resets, impl=impl)
    return y, *_closed(after, tilde_k.shape[1]), tick + 1


def _opened(tilde_k: Tensor, tilde_v: Tensor, s: Tensor, features: Tensor) -> tuple[Tensor, ...]:
    """The state in the order of the equations: keys and values of the frequencies that differ, then s."""
    sizes = (features.shape[-1], -1)
    keys, values = _folded(tilde_k).unflatten(-1, sizes), _folded(tilde_v)
    return (*keys.unbind(1), *values.unbind(1), s.unflatten(-1, sizes))


def _folded(terms: Tensor) -> Tensor:
    """[B, R, …] -> the mean of every term and its mirror, [B, (R + 1) // 2, …]."""
    if terms.shape[1] <= 2:
        return terms.mean(1, keepdim=True)
    half = (terms.shape[1] + 1) // 2
    return 0.5 * (terms[:, :half] + terms.flip(1)[:, :half])


def _closed(after: tuple[Tensor, ...], terms: int) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of `_opened`."""
    half = (terms + 1) // 2
    mirrored = [min(i, terms - 1 - i) for i in range(terms)]
    keys = torch.stack([after[i] for i in mirrored], 1).flatten(-2)
    return keys, torch.stack([after[half + i] for i in mirrored], 1), after[-1].flatten(-2)


def _wave(ticks: Tensor, terms: int, like: Tensor) -> Tensor:
    """cos((tick + 1) ω) of the frequencies that differ, for every head: int64 [...] -> [..., N, (R + 1) // 2].

    In float64, so that the angle is right however long an episode is."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    parts, after = max(1, terms - 1), ticks.double().add_(1.0)
    waves = [torch.cos(after * (math.pi * m / parts)) for m in range(parts, parts - terms, -2)]
    found = torch.stack(waves, -1) if len(waves) > 1 else waves[0].unsqueeze(-1)
    return found.to(dtype).unsqueeze(-2).expand(*ticks.shape, like.shape[-3], -1)


def _ticks(tick: Tensor, resets: Tensor | None, steps: int) -> Tensor:
    """The tick before each step: int64 [B, T]."""
    at = torch.arange(steps, device=tick.device)
    continued = tick[:, None] + at
    if resets is None:
        return continued
    latest = torch.where(resets, at, -1).cummax(1).values
    return torch.where(latest < 0, continued, 1 + at - latest)

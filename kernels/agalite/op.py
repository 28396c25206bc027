"""AGaLiTe over a whole sequence, by a scan of log T rounds, and one step of it.

Notation: B rows, T steps, N heads, D head width, E = eta features, C = E D, R = r terms. The three memories are
elementwise decayed sums x_t = a_t x_{t-1} + b_t, so doubling windows (Hillis & Steele, 1986) give all T at once: after
round j, b_t sums the last 2^j steps and a_t is their decay. Nothing is divided by a decay, so none is too small.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..precision import accumulate_dtype, full_precision
from ..segments import finite_rows, segment_starts, tainted

State = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def agalite(
    k: Tensor,
    q: Tensor,
    v: Tensor,
    beta: Tensor,
    gamma: Tensor,
    p1: Tensor,
    p2: Tensor,
    p3: Tensor,
    tilde_k: Tensor,
    tilde_v: Tensor,
    s: Tensor,
    tick: Tensor,
    segments: Tensor | None = None,
    eps: float = 1e-5,
) -> State:
    """arXiv 2310.15719 in the letters of the spec (core `Ag`); the gates are pre-activations.

    k, q, v, beta, gamma: [B, T, N, D]; p1, p2, p3: [B, T, N, E]; tilde_k: [B, R, N, C]; tilde_v: [B, R, N, D]; s:
    [B, N, C]; tick: int64 [B], 1 at the start of an episode; segments: int64 [B, T] or None. Returns the output
    [B, T, N, D] in q's dtype and the next tilde_k, tilde_v, s (float32, or float64 for float64 inputs) and tick.
    """
    dtype, out, steps = accumulate_dtype(k, q, v), q.dtype, q.shape[1]
    inputs = [x.to(dtype) for x in (k, q, v, beta, gamma, p1, p2, p3)]
    state = [tilde_k.to(dtype), tilde_v.to(dtype), s.to(dtype)]
    bad = None
    if segments is not None:
        inputs, state, bad = _sanitise(inputs, state, segments)
    (k, q, v, beta, gamma, p1, p2, p3), (tilde_k, tilde_v, s) = inputs, state
    with full_precision(q):
        key, query = _outer(p1.relu(), k.relu()), _outer(p2.relu(), q.relu())  # [B, T, N, C]
        gate, write = _outer(p3.sigmoid(), gamma.sigmoid()), beta.sigmoid()
        ticks = _ticks(tick, segments, steps)  # [B, T], before each step
        wave = _wave(ticks, tilde_k.shape[1], dtype)  # [B, T, R]
        both = F.pad(wave, (0, 1), value=1.0)[..., None, None]  # s is one more term, which does not oscillate
        keys = _scan((1 - gate)[:, :, None], both * (gate * key)[:, :, None], _with(tilde_k, s), segments)
        values = _scan((1 - write)[:, :, None], wave[..., None, None] * (write * v)[:, :, None], tilde_v, segments)
        y = _read(keys, values, query, eps)
    state = [keys[:, -1, :-1], values[:, -1], keys[:, -1, -1]]
    if bad is not None:
        y = y.masked_fill(bad[..., None], float("nan"))
        last = bad[:, -1]
        shown = (last[:, None, :, None], last[:, None, :, None], last[:, :, None])
        state = [x.masked_fill(b, float("nan")) for x, b in zip(state, shown, strict=True)]
    return y.to(out), state[0], state[1], state[2], ticks[:, -1] + 1


def agalite_step(
    k: Tensor,
    q: Tensor,
    v: Tensor,
    beta: Tensor,
    gamma: Tensor,
    p1: Tensor,
    p2: Tensor,
    p3: Tensor,
    tilde_k: Tensor,
    tilde_v: Tensor,
    s: Tensor,
    tick: Tensor,
    resets: Tensor | None = None,
    eps: float = 1e-5,
) -> State:
    """One step of `agalite`: inputs without T; resets: bool [B] or None."""
    dtype, out = accumulate_dtype(k, q, v), q.dtype
    k, q, v, beta, gamma, p1, p2, p3 = (x.to(dtype) for x in (k, q, v, beta, gamma, p1, p2, p3))
    keys, tilde_v = _with(tilde_k.to(dtype), s.to(dtype)), tilde_v.to(dtype)
    if resets is not None:
        fresh = resets[:, None, None, None]
        keys, tilde_v, tick = torch.where(fresh, 0, keys), torch.where(fresh, 0, tilde_v), torch.where(resets, 1, tick)
    with full_precision(q):
        key, query = _outer(p1.relu(), k.relu()), _outer(p2.relu(), q.relu())
        gate, write = _outer(p3.sigmoid(), gamma.sigmoid()), beta.sigmoid()
        wave = _wave(tick, tilde_v.shape[1], dtype)[..., None, None]
        both = F.pad(wave, (0, 0, 0, 0, 0, 1), value=1.0)
        keys = (1 - gate)[:, None] * keys + both * (gate * key)[:, None]
        tilde_v = (1 - write)[:, None] * tilde_v + wave * (write * v)[:, None]
        y = _read(keys, tilde_v, query, eps)
    return y.to(out), keys[:, :-1], tilde_v, keys[:, -1], tick + 1


def _read(keys: Tensor, values: Tensor, query: Tensor, eps: float) -> Tensor:
    """sum_w V_w (K_w . Q) / (2 R (s . Q) + eps): keys [..., R+1, N, C], values [..., R, N, D], query [..., N, C]."""
    dots = (keys * query.unsqueeze(-3)).sum(-1)  # [..., R+1, N]
    terms = values.shape[-3]
    numerator = (dots[..., :-1, :, None] * values).sum(-3)
    return numerator / (2 * terms * dots[..., -1, :, None] + eps)


def _scan(decay: Tensor, added: Tensor, state: Tensor, segments: Tensor | None) -> Tensor:
    """All x_t = decay_t x_{t-1} + added_t from x_0 = state, 0 where t starts a segment.

    decay: [B, T, 1, N, C]; added: [B, T, R, N, C]; state: [B, R, N, C]. Returns [B, T, R, N, C].
    """
    added = torch.cat([state[:, None], added], 1)
    decay = F.pad(decay, (0, 0, 0, 0, 0, 0, 1, 0), value=1.0)
    ids = None if segments is None else F.pad(segments, (1, 0))[..., None, None, None]
    reach = 1
    while reach < added.shape[1]:
        more = decay[:, reach:] * added[:, :-reach]
        longer = decay[:, reach:] * decay[:, :-reach]
        if ids is not None:
            same = ids[:, reach:] == ids[:, :-reach]
            more, longer = torch.where(same, more, 0), torch.where(same, longer, 0)
        added = torch.cat([added[:, :reach], added[:, reach:] + more], 1)
        decay = torch.cat([decay[:, :reach], longer], 1)
        reach *= 2
    return added[:, 1:]


def _outer(features: Tensor, x: Tensor) -> Tensor:
    """[..., E] and [..., D] -> [..., E D]."""
    return (features[..., :, None] * x[..., None, :]).flatten(-2)


def _with(tilde_k: Tensor, s: Tensor) -> Tensor:
    return torch.cat([tilde_k, s[:, None]], 1)


def _wave(ticks: Tensor, terms: int, dtype: torch.dtype) -> Tensor:
    """cos((tick + 1) w) for w in linspace(-pi, pi, R): int64 [...] -> [..., R]."""
    omega = torch.linspace(-math.pi, math.pi, terms, dtype=dtype, device=ticks.device)
    return torch.cos((ticks[..., None] + 1) * omega)


def _ticks(tick: Tensor, segments: Tensor | None, steps: int) -> Tensor:
    """The tick before each step: int64 [B, T]."""
    at = torch.arange(steps, device=tick.device)
    continued = tick[:, None] + at
    return continued if segments is None else torch.where(segments == 0, continued, 1 + at - segment_starts(segments))


def _sanitise(inputs: list[Tensor], state: list[Tensor], segments: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Inputs and state without NaN and inf, and which outputs [B, T, N] must be NaN instead."""
    clean, bad = zip(*(finite_rows(x) for x in inputs), strict=True)
    kept, broken = zip(*(finite_rows(x) for x in state), strict=True)
    written = tainted(torch.stack(bad).any(0), segment_starts(segments))
    before = broken[0].any(1) | broken[1].any(1) | broken[2]
    return list(clean), list(kept), written | (before[:, None] & (segments == 0)[..., None])

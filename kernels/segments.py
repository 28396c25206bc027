"""Resets inside a sequence, as segment ids, and what keeps a NaN in the segment where it arose.

Notation: B rows, T steps. `segments` is int64 [B, T], the number of resets at or before each step of this call. Two
steps belong to one episode if and only if their ids are equal; steps with id 0 continue the incoming state. None
stands for a call without resets, which must not pay for them.

A mask alone does not stop a NaN in a matrix product, because 0 * NaN is NaN. Ops with masked products therefore
replace bad rows by zeros (`finite_rows`), compute, and then write NaN to exactly the steps which may see a bad row
(`tainted`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def segment_ids(resets: Tensor | None) -> Tensor | None:
    """Number of resets at or before each step: bool [B, T] -> int64 [B, T]; None stays None."""
    return None if resets is None else resets.to(torch.int64).cumsum(1)


def segment_starts(segments: Tensor) -> Tensor:
    """Index of the first step of each step's segment within this call: int64 [B, T] -> int64 [B, T]."""
    before = torch.nn.functional.pad(segments[:, :-1], (1, 0))
    steps = torch.arange(segments.shape[1], device=segments.device)
    return torch.where(segments != before, steps, 0).cummax(1).values


def reset_state(state: Tensor, resets: Tensor | None, initial: float = 0.0) -> Tensor:
    """`state` [B, ...] with `initial` selected in the rows where `resets` (bool [B] or None) holds."""
    if resets is None:
        return state
    return torch.where(resets.view(-1, *[1] * (state.dim() - 1)), initial, state)


def finite_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [..., D] with NaN and inf replaced by zero, and which of its rows had one: bool [...]."""
    bad = ~torch.isfinite(x.detach().abs().amax(-1))  # amax hands on NaN
    return torch.where(torch.isfinite(x), x, 0), bad


def tainted(bad: Tensor, first: Tensor) -> Tensor:
    """Whether a bad row lies in first[b, t] .. t, for every step t.

    bad: bool [B, S, ...], the rows; first: int64 [B, S], the first row that each step sees. Returns bool [B, S, ...].
    """
    trailing = [1] * (bad.dim() - 2)
    steps = torch.arange(bad.shape[1], device=bad.device).view(1, -1, *trailing)
    latest = torch.where(bad, steps, -1).cummax(1).values
    return latest >= first.view(*first.shape, *trailing)

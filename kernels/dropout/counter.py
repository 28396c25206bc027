"""Which episode of which row a step belongs to, as one number that masks are drawn from.

Notation: B rows, T steps. The *counter* of a row is one int64 of its state,

    birth << 32 | 2 * episode | begun

``birth`` (31 bits) is given once, when the state is made; ``begun`` is 1 when the row has taken a step in its episode.
A reset ends an episode that has begun and leaves a fresh one alone, so that a fresh state which is reset is a fresh
state. The *key* of a step is the counter of its episode without the last bit: equal at all steps of an episode, cut or
not, and another one in every other row and episode.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import splitmix64
from .splitmix import numbers, signed

BIRTH_BITS = 31
SHIFT = 32  # below: twice the episode, and whether it has begun


def births(rows: int, leaf: int, seed: int | None, device: torch.device | str) -> Tensor:
    """Counters of fresh rows, int64 [B]: drawn from torch's generator; with a seed they follow from it, the number of
    the leaf in the state and the number of the row."""
    if seed is None:
        return torch.randint(1 << BIRTH_BITS, (rows,), device=device) << SHIFT
    start = torch.full((), signed(splitmix64(seed + splitmix64(leaf))), dtype=torch.int64, device=device)
    return (numbers(start, rows) & ((1 << BIRTH_BITS) - 1)) << SHIFT


def is_birth(leaf: Tensor) -> bool:
    """Whether an int64 leaf holds counters of fresh rows. (A birth of 0 is one in 2^31.)"""
    return leaf.dim() == 1 and bool(((leaf & ((1 << SHIFT) - 1)) == 0).all()) and bool((leaf > 0).any())


def ended(counter: Tensor) -> Tensor:
    """The counter after a reset, int64 [B]."""
    return counter + (counter & 1)


def dropout_keys(counter: Tensor, segments: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The keys of a sequence and the counter after it.

    counter: int64 [B]; segments: int64 [B, T] or None. Returns int64 [B, T], or [B] for all steps where there are no
    resets; and int64 [B]."""
    key = counter & ~1
    if segments is None:
        return key, key | 1
    first = segments[:, :1]  # a reset before the first step ends nothing where nothing has begun
    keys = key[:, None] + 2 * (segments - first + first * (counter & 1)[:, None])
    return keys, keys[:, -1] | 1


def dropout_keys_step(counter: Tensor, resets: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One step of `dropout_keys`. resets: bool [B] or None. Returns int64 [B], twice."""
    key = (counter if resets is None else torch.where(resets, ended(counter), counter)) & ~1
    return key, key | 1

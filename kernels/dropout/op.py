"""Dropout of channels and of attention weights: a counter-based hash of row, episode, site and channel.

Notation: B rows, T steps, C channels. Channel c of a site is dropped in an episode where number c + 1 of SplitMix64,
started from the episode's key and the site, is small. A mask is a function of the state alone: no generator is read,
so steps, sequences, cuts and devices agree, and a recorded call needs no more than its state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..precision import accumulate_dtype
from .splitmix import GOLDEN, mix, numbers, signed


def dropout(x: Tensor, key: Tensor, p: float, site: int, training: bool) -> Tensor:
    """x [B, T, ..., C] or [B, ..., C] with channels dropped and the others scaled by 1 / (1 - p); x itself in eval.

    key: int64 [B, T], or [B] where all steps belong to one episode. Where x has more steps than key, the surplus stands
    in front and belongs to the first step's episode (what attention remembers). p in [0, 1); site: any int."""
    if not training:
        return x
    if key.dim() == 2 and x.shape[1] > key.shape[1]:
        key = torch.cat([key[:, :1].expand(-1, x.shape[1] - key.shape[1]), key], 1)
    kept = _kept(key, x.shape[-1], p, site)
    kept = kept.view(*key.shape, *[1] * (x.dim() - 1 - key.dim()), x.shape[-1])
    return torch.where(kept, x * (1 / (1 - p)), 0)


def dropout_factors(
    key: Tensor, like: Tensor, sizes: Sequence[int], p: float, site: int, training: bool, first: bool = False
) -> Tensor | None:
    """What `dropout` multiplies by, for ops that apply it themselves: 0 or 1 / (1 - p), float [B, T, *sizes], or
    [B, *sizes] where all steps belong to one episode (with ``first`` that of the first step). None in eval.

    The dtype is float32, or float64 for a float64 ``like``."""
    if not training:
        return None
    if first and key.dim() == 2:
        key = key[:, 0]
    kept = _kept(key, math.prod(sizes), p, site).unflatten(-1, tuple(sizes))
    return kept.to(accumulate_dtype(like)) * (1 / (1 - p))


def _kept(key: Tensor, channels: int, p: float, site: int) -> Tensor:
    """Which channels stay: bool [*key.shape, C]."""
    start = mix(key + signed(site * GOLDEN))
    return numbers(start, channels) >= signed(int(p * 2**64) - 2**63)  # they are signed: the smallest is -2^63

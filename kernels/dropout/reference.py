"""Dropout row by row, step by step and channel by channel, in Python's integers: the oracle of this folder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..precision import accumulate_dtype

WORD = 1 << 64
GOLDEN = 0x9E3779B97F4A7C15


def splitmix64(z: int) -> int:
    """The finaliser of SplitMix64 on unsigned 64-bit words."""
    z %= WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def keeps(key: int, site: int, channel: int, p: float) -> bool:
    """Whether a channel stays. The number is a signed fraction of 2^64, from -1/2 up."""
    start = splitmix64(key + site * GOLDEN)
    number = splitmix64((start + channel + 1) * GOLDEN)
    return ((number + WORD // 2) % WORD) >= int(p * WORD)


def dropout_keys_reference(counter: Tensor, segments: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`counter.dropout_keys` as the machine that it is: a reset ends what has begun, a step begins."""
    rows, last = [], []
    for b, start in enumerate(counter.tolist()):
        value, seen, keys = start, 0, []
        for segment in [0] if segments is None else segments[b].tolist():
            if segment != seen and value & 1:
                value += 1
            seen = segment
            keys.append(value - (value & 1))
            value |= 1
        rows.append(keys)
        last.append(value)
    found = torch.tensor(rows, device=counter.device)
    return found[:, 0] if segments is None else found, torch.tensor(last, device=counter.device)


def dropout_reference(x: Tensor, key: Tensor, p: float, site: int, training: bool) -> Tensor:
    """Shapes as in `op.dropout`."""
    if not training:
        return x
    kept = _table(key, x.shape[-1], p, site)
    if key.dim() == 2:
        front = kept[:, :1].expand(-1, x.shape[1] - key.shape[1], -1)
        kept = torch.cat([front, kept], 1)
    while kept.dim() < x.dim():
        kept = kept.unsqueeze(-2)
    return torch.where(kept, x / (1 - p), torch.zeros_like(x))


def dropout_factors_reference(
    key: Tensor, like: Tensor, sizes: Sequence[int], p: float, site: int, training: bool, first: bool = False
) -> Tensor | None:
    """Shapes as in `op.dropout_factors`."""
    if not training:
        return None
    kept = _table(key[:, 0] if first and key.dim() == 2 else key, math.prod(sizes), p, site)
    return kept.reshape(*kept.shape[:-1], *sizes).to(accumulate_dtype(like)) / (1 - p)


def _table(key: Tensor, channels: int, p: float, site: int) -> Tensor:
    """bool [*key.shape, C]"""
    kept = [[keeps(k, site, c, p) for c in range(channels)] for k in key.flatten().tolist()]
    return torch.tensor(kept, device=key.device).reshape(*key.shape, channels)

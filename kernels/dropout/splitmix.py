"""SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2660193.2660195) on int64 tensors: the same on every device.

Its n-th number for the start s * GOLDEN is ``mix((s + n) * GOLDEN)``: no state, any number at once. Products wrap
around, and a right shift of int64 repeats the sign, which the masks take away.
"""

from __future__ import annotations

import torch
from torch import Tensor


def signed(bits: int) -> int:
    """64 bits, read as torch reads an int64."""
    bits %= 1 << 64
    return bits - (1 << 64) if bits >> 63 else bits


GOLDEN = signed(0x9E3779B97F4A7C15)
_FIRST, _SECOND = signed(0xBF58476D1CE4E5B9), signed(0x94D049BB133111EB)


def numbers(start: Tensor, count: int) -> Tensor:
    """The first numbers for each start: int64 [...] -> [..., count]. The start is added first: torch.compile takes a
    constant times ``arange`` for an index that never overflows, and computes others."""
    each = torch.arange(1, count + 1, device=start.device)
    return mix((start[..., None] + each) * GOLDEN)


def mix(z: Tensor) -> Tensor:
    """The finaliser, element by element: every bit of z (int64) reaches every bit of the result."""
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    return (z >> by) & ((1 << (64 - by)) - 1)

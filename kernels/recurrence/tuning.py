"""The choices that were found by measurement: looked up before the built-in ones, and never measured in a call.

This module keeps no file. Whoever does (`runtime/tuned.py`) puts its reader in `SOURCE`; a device's table is read when
the first kernel runs there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from .cell import Cell
from .choices import Choice, Key, bucket

Table = Mapping[Key, Choice]
C = TypeVar("C", bound=Choice)


@dataclass(frozen=True)
class Call:
    """What a launch depends on, without its numbers."""

    cell: Cell
    shape: tuple[int, ...]  # of x: [B, T, G, H]
    dtype: torch.dtype
    device: torch.device
    weight: tuple[int, ...] | None  # its shape, [N, gates, D, D], or [B, N, …] where every row has its own
    weight_dtype: torch.dtype | None

    def largest(self, key: Key) -> Call:
        """The largest call that its key stands for: what runs that runs the others."""
        weight = (key.rows, *self.weight[1:]) if self.weight and key.own else self.weight
        return replace(self, shape=(key.rows, key.length, *self.shape[2:]), weight=weight)


SOURCE: list[Callable[[str], Table]] = []  # at most one: the name of a device -> its table
_watching: list[dict[Key, Call]] = []


def key_of(cell: Cell, x: Tensor, weight: Tensor | None, schedule: str, direction: str, arithmetic: str) -> Key:
    """The key of a call."""
    rows, length, _, width = x.shape
    heads, own = 1, False
    if weight is not None:
        heads, width, own = weight.shape[-4], weight.shape[-1], weight.dim() == 5
    return Key(cell.name, cell.digest, schedule, direction, arithmetic, bucket(rows), bucket(length), heads, width, own)


def chosen(cell: Cell, x: Tensor, weight: Tensor | None, key: Key, built_in: C) -> C:
    """The choice for a call: what was measured, else what is built in."""
    for calls in _watching:
        shape, dtype = (tuple(weight.shape), weight.dtype) if weight is not None else (None, None)
        calls.setdefault(key, Call(cell, tuple(x.shape), x.dtype, x.device, shape, dtype))
    found = table(x.device).get(key)
    return found if isinstance(found, type(built_in)) else built_in


@cache
def table(device: torch.device) -> Table:
    """The table of a device; empty where there is no GPU."""
    name = device_name(device)
    return SOURCE[0](name) if SOURCE and name else {}


def forget() -> None:
    """Read the tables again when they are next asked for."""
    table.cache_clear()


def device_name(device: torch.device) -> str:
    """What its driver calls a GPU; empty for a CPU, whose choices are not ours."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


@contextmanager
def watching() -> Iterator[dict[Key, Call]]:
    """The calls that reach a kernel meanwhile, in any thread: autograd runs backwards in its own."""
    calls: dict[Key, Call] = {}
    _watching.append(calls)
    try:
        yield calls
    finally:
        _watching[:] = [c for c in _watching if c is not calls]

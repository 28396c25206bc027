"""The choices that were found by measurement: looked up before the built-in ones, and never measured in a call.

This module keeps no file. Whoever does (`runtime/tuned.py`) puts its reader in `SOURCE`; a device's table is read when
the first kernel runs there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from .cell import Cell, Inputs
from .choices import Choice, Key, bucket

Table = Mapping[Key, Choice]
C = TypeVar("C", bound=Choice)


@dataclass(frozen=True)
class Call:
    """What a launch depends on: the largest inputs that its key stands for, without their numbers."""

    cell: Cell
    inputs: Inputs


SOURCE: list[Callable[[str], Table]] = []  # at most one: the name of a device -> its table
_watching: list[dict[Key, Call]] = []


def key_of(cell: Cell, inputs: Inputs, schedule: str, direction: str, arithmetic: str) -> Key:
    """The key of a call."""
    x, weight = inputs.x, inputs.weight
    rows, length, heads, width, own = *x.shape[:2], 1, x.shape[-1], False
    if cell.headed:
        heads = x.shape[2]
    elif weight is not None:
        heads, width, own = weight.shape[-4], weight.shape[-1], weight.dim() == 5
    size = (bucket(rows), bucket(length), heads, width)
    return Key(cell.name, cell.digest, schedule, direction, arithmetic, *size, own, inputs.features)


def chosen(cell: Cell, inputs: Inputs, key: Key, built_in: C) -> C:
    """The choice for a call: what was measured, else what is built in."""
    for calls in _watching:
        if key not in calls:
            calls[key] = Call(cell, largest(inputs, key))
    found = table(inputs.x.device).get(key)
    return found if isinstance(found, type(built_in)) else built_in


def largest(inputs: Inputs, key: Key) -> Inputs:
    """The largest inputs that a key stands for, of one number each: what runs those runs the others."""
    rows, steps, weight = (key.rows,), (key.rows, key.length), inputs.weight
    return Inputs(
        x=_blank(inputs.x, steps),
        params=tuple(_blank(p) for p in inputs.params),
        weight=weight if weight is None else _blank(weight, rows if key.own else ()),
        state=tuple(_blank(s, rows) for s in inputs.state),
        traces=(),
        resets=None,
        beside=tuple(_blank(t, steps) for t in inputs.beside),
    )


def _blank(like: Tensor, lead: tuple[int, ...] = ()) -> Tensor:
    """One number in the shape of a tensor, but for its first sizes."""
    return like.new_empty(()).expand(*lead, *like.shape[len(lead) :])


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

"""Lanes: the experts of a column on streams of their own, while launches are recorded as a CUDA graph.

A recorded graph keeps who waits for whom and nothing else, so what runs in different lanes may run at the same time, in
the backward too: autograd computes a gradient on the stream of its forward. Launched one by one there is nothing to
win, and `enter_lane` and `leave_lanes` return what they were given.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

Values = tuple[Tensor | None, ...]


@dataclass
class _Lanes:
    """The streams of one device, and what is known of the column that runs."""

    device: torch.device
    main: torch.cuda.Stream | None = None
    forked: torch.cuda.Event | None = None
    entered: list[torch.cuda.Stream] = field(default_factory=list)


class _Local(threading.local):
    lanes: _Lanes | None = None


_here = _Local()
_streams: dict[torch.device, list[torch.cuda.Stream]] = {}


@contextmanager
def lanes(device: torch.device | None) -> Iterator[None]:
    """Inside, columns run in lanes: for recording and the runs that warm up for it. Without a device they do not."""
    before, _here.lanes = _here.lanes, None if device is None else _Lanes(device)
    try:
        yield
    finally:
        _here.lanes = before


def enter_lane(lane: int, *values: Tensor | None) -> Values:
    """What follows runs in this lane; `values` are what it reads of what was computed before all lanes."""
    if torch.compiler.is_compiling() or _here.lanes is None:
        return values
    here = _here.lanes
    if here.main is None:
        here.main = torch.cuda.current_stream(here.device)
        here.forked = here.main.record_event()
    stream = _stream(here.device, lane)
    assert here.forked is not None
    stream.wait_event(here.forked)
    torch.cuda.set_stream(stream)
    here.entered.append(stream)
    return _used_on(stream, values)


def leave_lanes(*values: Tensor | None) -> Values:
    """What follows waits for every lane; `values` are what it reads of them."""
    if torch.compiler.is_compiling() or _here.lanes is None:
        return values
    here = _here.lanes
    assert here.main is not None
    torch.cuda.set_stream(here.main)
    for stream in here.entered:
        here.main.wait_stream(stream)
    main, here.main, here.forked, here.entered = here.main, None, None, []
    return _used_on(main, values)


def _stream(device: torch.device, lane: int) -> torch.cuda.Stream:
    known = _streams.setdefault(device, [])
    known.extend(torch.cuda.Stream(device) for _ in range(len(known), lane + 1))
    return known[lane]


def _used_on(stream: torch.cuda.Stream, values: Values) -> Values:
    """Tell the allocator, which would else hand out their memory while the other stream still reads it."""
    for value in values:
        if value is not None:
            value.record_stream(stream)
    return values

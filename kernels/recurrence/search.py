"""Measuring: which choice runs one kernel fastest on this device, and gives the same numbers.

The cost model comes first: only what fits the chip and the shape is tried, beginning at the built-in choice and moving
one thing at a time to whatever was faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .choices import Choice, Head, Heads, Key, Split, bucket, choice_of, difference, values_of
from .heads import tile_of
from .measure import Kernel
from .plans import built_in, launched
from .tiles import Plan, fits
from .tuning import Call

GAIN = 0.97  # of the built-in time: what is nearer is noise

Moves = Sequence[Sequence[Mapping[str, int]]]  # turn by turn, what may be changed


@dataclass(frozen=True)
class Found:
    """What came out for one kernel. Times are in milliseconds."""

    key: Key
    built_in: Choice
    choice: Choice
    before: float
    after: float
    tried: int

    @property
    def better(self) -> bool:
        """Whether the choice is worth keeping."""
        return self.choice != self.built_in

    def __str__(self) -> str:
        return f"{self.key}  {self.before:.3g} -> {self.after:.3g} ms  {difference(self.choice, self.built_in)}"


def moves(start: Choice, call: Call) -> Moves:
    """What can be tried about a kernel that is built in as `start`, the most promising turn first."""
    rows, length, *_, width = call.inputs.x.shape
    if isinstance(start, Head):
        return [[{"warps": n} for n in (2, 4, 8)]]
    if isinstance(start, Split):
        gates = bucket(len(call.cell.gates))
        kept, read = [{"resident": Split.resident}], [{"piece": p, "stages": s} for p in (64, 128) for s in (1, 3)]
        return [
            [{"units": n} for n in (4, 8, 16, 32) if n * gates >= 16],
            [{"warps": n, "slices": m} for n in (4, 8) for m in (1, 2, 4)],
            [*kept, *({"resident": 0, **r} for r in read)],
        ]
    if isinstance(start, Heads):  # of a tile, 4 to 128 elements for a thread
        sizes = [{"warps": n} for n in (1, 2, 4, 8, 16) if 128 * n <= tile_of(call.inputs) <= 4096 * n]
    else:
        sizes = [{"block": n} for n in (32, 64, 128, 256) if n <= bucket(rows * width)]
    if "summary" not in call.cell.kernels:  # steps do not compose, so time is one chunk
        return [sizes]
    chunks = [{"chunk": n} for n in (16, 32, 64, 128, 256, 512, length) if n <= length]
    return [chunks, sizes, chunks]


def candidates(key: Key, call: Call) -> tuple[Choice, list[Choice]]:
    """The built-in choice and those one move away from it: what a search begins with, shown without running it."""
    start = built_in(call.cell, call.inputs, key.direction)
    worth = _Worth(call)
    worth(start)
    return start, [c for turn in moves(start, call) for c in (_moved(start, move) for move in turn) if worth(c)]


@dataclass(frozen=True)
class Deadline:
    """When a budget of seconds ends."""

    end: float
    clock: Callable[[], float]

    def passed(self) -> bool:
        return self.clock() >= self.end


def descend(
    start: Choice, turns: Moves, worth: Callable[[Choice], bool], measure: Callable[[Choice], float], until: Deadline
) -> dict[Choice, float]:
    """The times of what was tried, in order; a turn begins at the fastest so far. Ends early when time is up."""
    worth(start)
    times = {start: measure(start)}
    for turn in turns:
        best = min(times, key=times.__getitem__)
        for move in turn:
            candidate = _moved(best, move)
            if not worth(candidate):
                continue
            if until.passed():
                return times
            times[candidate] = measure(candidate)
    return times


def search(
    key: Key,
    call: Call,
    seconds: float,
    measure: Callable[[Choice], float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Found:
    """The fastest choice for a kernel, within a budget of seconds. `measure` gives milliseconds, by default of the
    device at hand; a choice that does not launch or gives other numbers takes forever."""
    start = built_in(call.cell, call.inputs, key.direction)
    measure = measure or Kernel(key, call).milliseconds
    times = descend(start, moves(start, call), _Worth(call), measure, Deadline(clock() + seconds, clock))
    best = min(times, key=times.__getitem__)
    before, after = times[start], times[best]
    if best != start:  # once more, one after the other: a single lucky run must not count
        before, after = measure(start), measure(best)
    if not after < GAIN * before:
        best, after = start, before
    return Found(key, start, best, before, after, len(times))


class _Worth:
    """Whether a choice is worth measuring: it fits, and launches otherwise than every one that was asked about before.

    Two choices may make one program: where the matrices stay on chip, nothing asks how they would be read again."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.seen: list[Plan] = []

    def __call__(self, choice: Choice) -> bool:
        if not fits(self.call.cell, self.call.inputs, choice):
            return False
        how = launched(self.call.cell, self.call.inputs, choice)
        if how in self.seen:
            return False
        self.seen.append(how)
        return True


def _moved(choice: Choice, move: Mapping[str, int]) -> Choice:
    return choice_of(choice.schedule, {**values_of(choice), **move})

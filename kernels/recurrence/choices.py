"""What can be chosen about a launch, one type a schedule, and the key that a measured choice is kept under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, NamedTuple


@dataclass(frozen=True)
class Channels:
    """Channels of one program, and steps of a chunk of time; one chunk where steps cannot be composed."""

    schedule: ClassVar[str] = "channels"
    block: int
    chunk: int


@dataclass(frozen=True)
class Head:
    """A head in one program."""

    schedule: ClassVar[str] = "head"
    warps: int


@dataclass(frozen=True)
class Split:
    """A head over programs: its units in one, warps, slices of the product's terms; and if the program's part of the
    matrices is more than `resident` bytes it is read again at every step, `piece` rows at a time, `stages` of them on
    their way."""

    schedule: ClassVar[str] = "split"
    units: int = 16
    warps: int = 4
    slices: int = 1
    resident: int = 128 * 1024
    piece: int = 64
    stages: int = 3


@dataclass(frozen=True)
class Heads:
    """A head of channels, with its features, in one program: steps of a chunk of time as of `Channels`, and warps."""

    schedule: ClassVar[str] = "heads"
    chunk: int
    warps: int


Choice = Channels | Head | Split | Heads
TYPES: dict[str, type[Choice]] = {kind.schedule: kind for kind in (Channels, Head, Split, Heads)}

# What a launch can be given at all. A file may hold anything, and Triton's complaint would come in a user's call.
POSSIBLE = {
    "block": [1 << n for n in range(13)],
    "chunk": range(1, 1 << 20),
    "warps": (1, 2, 4, 8, 16),
    "units": (4, 8, 16, 32, 64, 128),
    "slices": (1, 2, 4, 8, 16),
    "resident": range(1 << 30),
    "piece": (16, 32, 64, 128, 256),
    "stages": range(1, 9),
}


class Key(NamedTuple):
    """What a choice is good for: one kernel, in one arithmetic, on shapes that are about the same."""

    name: str  # of the recurrence, for readers
    digest: str
    schedule: str  # channels, head, split or heads
    direction: str  # forward or backward
    arithmetic: str  # half, tf32 or exact
    rows: int  # at most, a power of two
    length: int  # at most, a power of two
    heads: int
    width: int  # of a head
    own: bool  # every row has its own matrices
    features: int = 1  # of a head

    def __str__(self) -> str:
        head = f"{self.heads}x{self.width}" + (f"x{self.features}" if self.features > 1 else "")
        own = " own" if self.own else ""
        return f"{self.name} [{self.rows},{self.length},{head}]{own} {self.arithmetic} {self.direction}"


def bucket(size: int) -> int:
    """The power of two at or above a size."""
    return 1 << max(0, size - 1).bit_length()


def choice_of(schedule: str, values: Mapping[str, Any]) -> Choice:
    """The choice that a file holds. Raises ValueError for what no launch can be given."""
    kind = TYPES.get(schedule)
    if kind is None:
        raise ValueError(f"the schedule is {schedule!r}, expected one of {', '.join(TYPES)}")
    names = {f.name for f in fields(kind)}
    if set(values) != names:
        raise ValueError(f"a choice for {schedule} has {', '.join(sorted(names))}, got {', '.join(sorted(values))}")
    for name, value in values.items():
        if type(value) is not int or value not in POSSIBLE[name]:
            raise ValueError(f"{name} is {value!r}, which no {schedule} kernel can be launched with")
    return kind(**values)


def values_of(choice: Choice) -> dict[str, int]:
    """The inverse of `choice_of`."""
    return asdict(choice)


def difference(new: Choice, old: Choice) -> str:
    """What of a choice is not as in another one: `warps 8, piece 128`."""
    before = values_of(old)
    changed = [_said(name, value) for name, value in values_of(new).items() if value != before[name]]
    return ", ".join(changed) or "as built in"


def _said(name: str, value: int) -> str:
    return f"resident {value // 1024} KiB" if name == "resident" else f"{name} {value}"

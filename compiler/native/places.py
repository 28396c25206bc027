"""Where the values of a graph lie while its C++ runs: in what was passed in, in what is given out, or in scratch memory
that is used again once a value was read for the last time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ..ir.types import B, Type, numel

ALIGN = 16  # numbers: a cache line


class NotInCpp(Exception):
    """The graph has something that has no C++; the text says what."""


@dataclass(frozen=True)
class Place:
    """A value: ``text`` is an expression of type `Rows` (of a counter, an address)."""

    text: str
    type: Type
    dense: bool = True  # row after row without a gap
    own: str = ""  # of a memory that is followed by the input of this step: the rows of that

    @property
    def shared(self) -> bool:
        """Whether all rows have the same: it depends on parameters alone."""
        return B not in self.type.shape

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return int(numel(tuple(d for d in self.type.shape if d != B)))

    @property
    def rows(self) -> str:
        """How many rows there are."""
        return "1" if self.shared else "c.rows"

    @property
    def at(self) -> str:
        """The address of the first number."""
        return f"{self.text}.at"

    def piece(self, offset: int) -> str:
        """The rows from a number of each row on."""
        return f"{{{self.at} + {offset}, {self.text}.step}}" if offset else self.text


@dataclass
class Scratch:
    """Memory handed out in pieces: so many numbers a row, or so many numbers."""

    rows: int = 0
    fixed: int = 0

    def __post_init__(self) -> None:
        self._free: dict[tuple[bool, int], list[int]] = defaultdict(list)
        self._held: dict[str, tuple[bool, int, int]] = {}

    def take(self, owner: str, width: int, shared: bool) -> str:
        """The address of memory for ``width`` numbers (a row, unless shared), until its owner is released."""
        size = -(-width // ALIGN) * ALIGN
        spare = self._free[shared, size]
        if spare:
            place = spare.pop()
        else:
            place = self.fixed if shared else self.rows
            self.fixed, self.rows = self.fixed + size * shared, self.rows + size * (not shared)
        self._held[owner] = shared, size, place
        return f"fixed + {place}" if shared else f"scratch + {place} * c.rows"

    def release(self, owner: str) -> None:
        if owner in self._held:
            shared, size, place = self._held.pop(owner)
            self._free[shared, size].append(place)

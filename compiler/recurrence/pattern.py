"""Which entries a product of transition matrices can have, and which of them are always equal.

Composing steps multiplies k×k matrices. Where state variables do not read each other most entries stay 0: a diagonal A
of 13 variables has 13 numbers to compose, not 169. The entries that a product can have are the paths in the graph of
what reads what. Entries that are built from equal steps in equal ways are one number: two sums that decay alike have
one decay.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import product

from .expr import Expr

Entry = tuple[int, int]


@dataclass(frozen=True)
class Pattern:
    """`step`: the entries of one A that are not 0. `place`: every entry that a product can have, and where in the list
    of distinct numbers it stands; `first`: the entry that each of these is computed as."""

    step: tuple[Entry, ...]
    place: dict[Entry, int]
    first: tuple[Entry, ...]

    @property
    def apart(self) -> bool:
        """Whether no state variable reads another one."""
        return all(i == j for i, j in self.place)


def pattern(transition: Sequence[Sequence[Expr]], kinds: Sequence[str]) -> Pattern:
    """The pattern of products of matrices with these entries, in whatever order they are multiplied. Numbers of state
    variables of different kinds (axes) are told apart, since they have different shapes."""
    k = len(transition)
    step = tuple((i, j) for i, j in product(range(k), range(k)) if not _is_zero(transition[i][j]))
    reached = {*step, *((i, i) for i in range(k))}
    for m, i, j in product(range(k), range(k), range(k)):  # Warshall
        if (i, m) in reached and (m, j) in reached:
            reached.add((i, j))
    entries = sorted(reached)
    # Equal so far (that is, in products of up to n steps) stays equal if all terms of the next product are equal.
    kind: dict[Entry, Hashable] = {(i, j): (i == j, kinds[i]) for i, j in entries}
    while True:
        terms = {
            (i, j): (
                kind[i, j],
                tuple((transition[i][m], kind[m, j]) for m in range(k) if (i, m) in step and (m, j) in reached),
                tuple((kind[i, m], transition[m][j]) for m in range(k) if (i, m) in reached and (m, j) in step),
            )
            for i, j in entries
        }
        numbers = {t: n for n, t in enumerate(dict.fromkeys(terms.values()))}
        refined = {entry: numbers[terms[entry]] for entry in entries}
        done = len(numbers) == len(set(kind.values()))
        kind = dict(refined)
        if done:
            break
    first: dict[Hashable, Entry] = {}
    for entry in entries:
        first.setdefault(kind[entry], entry)
    places = {number: place for place, number in enumerate(first)}
    return Pattern(step, {entry: places[kind[entry]] for entry in entries}, tuple(first.values()))


def memory(transition: Sequence[Sequence[Expr]]) -> int | None:
    """The n with A^n = 0, whatever the entries are: nothing older than n steps is remembered. None where a state
    variable reads itself, by whatever way."""
    k = len(transition)
    reads = [[j for j in range(k) if not _is_zero(transition[i][j])] for i in range(k)]
    reach = set(range(k))  # variables from which a path of n steps leads on
    for n in range(k + 1):
        if not reach:
            return n
        reach = {i for i in range(k) if any(j in reach for j in reads[i])}
    return None


def _is_zero(e: Expr) -> bool:
    return e.op == "const" and e.value == 0.0

"""Aligned columns that fit: a column that finds no room leaves whole, no cell is ever cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `leaves` says when it goes if room is short: the highest goes first, 0 never."""

    key: str
    title: str
    right: bool = False
    leaves: int = 0


def lay_out(
    columns: Sequence[Column], rows: Sequence[Mapping[str, str]], width: int | None
) -> tuple[list[str], tuple[Column, ...]]:
    """The lines of the table, heading first, and the columns that had to leave to fit into `width`."""
    kept, left = list(columns), []
    widths = {c.key: max(len(c.title), *(len(row.get(c.key, "")) for row in rows), 0) for c in columns}
    while width is not None and sum(widths[c.key] + GAP for c in kept) - GAP > width:
        leaving = max(kept, key=lambda column: column.leaves)
        if leaving.leaves == 0:
            break
        kept.remove(leaving)
        left.append(leaving)
    heading = {column.key: column.title for column in kept}
    return [_line(kept, widths, row) for row in (heading, *rows)], tuple(left)


def _line(columns: Sequence[Column], widths: Mapping[str, int], row: Mapping[str, str]) -> str:
    cells = [
        row.get(c.key, "").rjust(widths[c.key]) if c.right else row.get(c.key, "").ljust(widths[c.key]) for c in columns
    ]
    return (" " * GAP).join(cells).rstrip()

"""Recurrences by name: those of the library, and those that users register."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ....cortex_dsl.equations import announce, forget
from ...ops import OPS
from ...recurrence import Recurrence

# The recurrences that the numbers of a config make: the one of this name, or None.
Family = Callable[[str], Recurrence | None]

# A recurrence is a module and a name of generated code: what else stands there is taken.
_TAKEN = re.compile(r"regions|sequence|step|segment_ids|torch|(layer|column|fused)_.*|e\d+")
_FORM = re.compile(r"_(step|reference)$")


class Registry:
    """The table of equations. Names of the library are never given away."""

    def __init__(self, built_in: Iterable[Recurrence], families: Iterable[Family] = ()) -> None:
        self._known = {rec.name: rec for rec in built_in}
        self._own = frozenset(self._known)
        self._families = tuple(families)

    def __getitem__(self, name: str) -> Recurrence:
        found = self._known.get(name) or self._member(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._known or (isinstance(name, str) and self._member(name) is not None)

    def _member(self, name: str) -> Recurrence | None:
        """The member of a family that has this name."""
        return next((rec for family in self._families if (rec := family(name)) is not None), None)

    def add(self, rec: Recurrence) -> None:
        """Register a user's recurrence; one of the same name is replaced. Raises TypeError, ValueError."""
        if not isinstance(rec, Recurrence):
            got = getattr(rec, "__name__", type(rec).__name__)
            raise TypeError(
                f"expected a recurrence, got {got}; put `@recurrence(inputs=…, state=…)` above the function"
            )
        if rec.headed:
            raise ValueError(
                f"recurrence `{rec.name}` has heads (features, totals), and no one map makes its inputs; "
                "write its core in plain torch and call its op (docs/your_own_cell.md)"
            )
        if rec.name in self._own or self._member(rec.name) is not None:
            raise ValueError(f"recurrence `{rec.name}` belongs to the library; give yours another name (`name=`)")
        if _TAKEN.fullmatch(rec.name) or _FORM.sub("", rec.name) in OPS:
            raise ValueError(f"`{rec.name}` is a name of generated code; give the recurrence another one (`name=`)")
        self._known[rec.name] = rec
        announce(rec.name, matrices=rec.recurrent is not None)

    def remove(self, name: str) -> None:
        """Forget a user's recurrence; those of the library stay."""
        if name not in self._own:
            self._known.pop(name, None)
            forget(name)

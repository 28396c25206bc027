"""`closest`: the name a user probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to `name`, or None when nothing is near."""
    names = [k for k in known if k]
    folded = {k.casefold(): k for k in reversed(names)}
    if name.casefold() in folded:
        return folded[name.casefold()]
    from difflib import get_close_matches  # only a mistake pays for it

    found = get_close_matches(name[:64].casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing."""
    near = closest(name, known)
    return f"; did you mean `{near}`?" if near else ""


def listed(names: Iterable[str]) -> str:
    """Names for a note line."""
    return ", ".join(names)

"""Can a set of token names be glued so that a run reads in two ways? (Sardinas-Patterson.)"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

Reading = tuple[str, ...]


def ambiguous_text(names: Iterable[str]) -> tuple[str, Reading, Reading] | None:
    """The shortest run that two different sequences of names spell, with both readings; None if there is none."""
    codes = sorted(set(names), key=lambda n: (len(n), n))
    # An item is a dangling suffix: what the longer reading has and the shorter still has to spell.
    queue: deque[tuple[str, Reading, Reading]] = deque()
    known = set(codes)
    beginning: dict[str, list[str]] = {}  # every proper prefix, with the names that begin so
    for long in codes:
        for size in range(1, len(long)):
            beginning.setdefault(long[:size], []).append(long)
            if long[:size] in known:
                queue.append((long[size:], (long[:size],), (long,)))
    seen: set[str] = set()
    while queue:
        rest, shorter, longer = queue.popleft()
        if rest in seen:
            continue
        seen.add(rest)
        if rest in known:
            return "".join(longer), (*shorter, rest), longer
        for code in beginning.get(rest, ()):
            queue.append((code[len(rest) :], longer, (*shorter, code)))
        for size in range(1, len(rest)):
            if rest[:size] in known:
                queue.append((rest[size:], (*shorter, rest[:size]), longer))
    return None

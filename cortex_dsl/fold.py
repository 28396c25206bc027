"""Equal neighbours to repeats: `M / M / S / M / M / S` becomes `(M x2 / S) x2`."""

from __future__ import annotations

from collections.abc import Sequence

# Longer repeating groups are not looked for: nobody reads them, and the search is quadratic.
MAX_PERIOD = 64


def folded(layers: Sequence[str]) -> str:
    """The layers as text, with repeats where they make it shorter."""
    return " / ".join(_folded(tuple(layers)))


def _folded(layers: tuple[str, ...]) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(layers):
        period, count = _best(layers, at)
        group = layers[at : at + period]
        if count == 1:
            out.append(layers[at])
        elif period == 1:
            out.append(f"{group[0]} x{count}")
        else:
            out.append(f"({' / '.join(_folded(group))}) x{count}")
        at += period * count
    return out


def _best(layers: tuple[str, ...], at: int) -> tuple[int, int]:
    """The (period, count) at `at` that covers most; the shortest period among equals."""
    best = (1, 1)
    for period in range(1, min(MAX_PERIOD, (len(layers) - at) // 2) + 1):
        if layers[at + period] != layers[at]:
            continue
        count = 1
        while layers[at + count * period : at + (count + 1) * period] == layers[at : at + period]:
            count += 1
        if count > 1 and period * count > best[0] * best[1]:
            best = (period, count)
    return best

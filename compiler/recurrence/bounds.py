"""How far values can go: interval arithmetic on the equations, and what stays inside its interval by induction.

Intervals are closed, and hold whatever inputs and parameters are. Sums of the form a + z (b - a) and z a + (1 - z) b
with z in [0, 1] lie between a and b: that is how most gates are written, and plain interval arithmetic loses it. The
proof is one about real numbers: rounding may pass an end by a unit in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .expr import Expr, leaf, make, walk
from .frontend import Recurrence

INF = math.inf


@dataclass(frozen=True)
class Interval:
    """[low, high]."""

    low: float = -INF
    high: float = INF

    @property
    def bounded(self) -> bool:
        return self.low > -INF and self.high < INF

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))

    def within(self, other: Interval) -> bool:
        return other.low <= self.low and self.high <= other.high

    def hull(self, other: Interval) -> Interval:
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"


ANY, UNIT = Interval(), Interval(0.0, 1.0)
# Functions of one operand that rise: their value at both ends is their interval.
_RISING = {
    "exp": lambda v: math.exp(v) if v < 700 else INF,
    "expm1": lambda v: math.expm1(v) if v < 700 else INF,
    "sigmoid": lambda v: 1.0 / (1.0 + math.exp(-v)) if v > -700 else 0.0,
    "tanh": math.tanh,
    "log_sigmoid": lambda v: min(v, 0.0) - math.log1p(math.exp(-abs(v))) if v > -INF else -INF,
    "log": lambda v: -INF if v <= 0 else math.log(v) if v < INF else INF,
    "sqrt": lambda v: math.sqrt(max(v, 0.0)) if v < INF else INF,
}


def intervals(roots: tuple[Expr, ...], known: Mapping[Expr, Interval] | None = None) -> dict[Expr, Interval]:
    """The interval of every node under `roots`, given those of some leaves."""
    found: dict[Expr, Interval] = {}
    for node in walk(roots):
        if node.op == "leaf":
            found[node] = (known or {}).get(node, ANY)
        elif node.op == "const":
            found[node] = Interval(node.value, node.value)
        else:
            found[node] = _of(node, found)
    return found


def state_bounds(rec: Recurrence) -> dict[str, Interval]:
    """The state variables that stay in an interval whatever comes in, from their start on: proved by induction.

    Assume that some variables are in their intervals before a step; if the equations then put them there again, they
    always are. Variables for which that fails are dropped until the rest holds by itself.
    """
    free = intervals(rec.update)
    guess: dict[str, Interval] = {}
    for name, new, start in zip(rec.state, rec.update, rec.initial, strict=True):
        first = Interval(start, start)
        reach = free[new] if free[new].bounded else Interval(-1.0, 1.0)
        guess[name] = reach.hull(first)
    while guess:
        assumed = {leaf("s", n): i for n, i in guess.items()}
        assumed |= {leaf("r", g): ANY for g in rec.gates}
        found = intervals(rec.update, assumed)
        news = dict(zip(rec.state, rec.update, strict=True))
        kept = {n: i for n, i in guess.items() if found[news[n]].within(i)}
        if len(kept) == len(guess):
            return guess
        guess = kept
    return {}


def _of(node: Expr, found: Mapping[Expr, Interval]) -> Interval:
    parts = [found[a] for a in node.args]
    if node.op in _RISING:
        rise = _RISING[node.op]
        return Interval(rise(parts[0].low), rise(parts[0].high))
    match node.op:
        case "add":
            mixed = _mixture(node, found)
            plain = Interval(parts[0].low + parts[1].low, parts[0].high + parts[1].high)
            return plain if mixed is None else mixed
        case "sub":
            return Interval(parts[0].low - parts[1].high, parts[0].high - parts[1].low)
        case "neg":
            return Interval(-parts[0].high, -parts[0].low)
        case "mul":
            corners = [_times(a, b) for a in (parts[0].low, parts[0].high) for b in (parts[1].low, parts[1].high)]
            square = node.args[0] is node.args[1]
            return Interval(0.0 if square else min(corners), max(corners))
        case "cos" | "sin":
            return Interval(-1.0, 1.0)
        case "abs":
            low = 0.0 if parts[0].low <= 0.0 <= parts[0].high else min(abs(parts[0].low), abs(parts[0].high))
            return Interval(low, parts[0].magnitude)
        case "min":
            return Interval(min(parts[0].low, parts[1].low), min(parts[0].high, parts[1].high))
        case "max":
            return Interval(max(parts[0].low, parts[1].low), max(parts[0].high, parts[1].high))
        case "where":
            return parts[1].hull(parts[2])
        case "div" if parts[1].low > 0.0 or parts[1].high < 0.0:
            corners = [_over(a, b) for a in (parts[0].low, parts[0].high) for b in (parts[1].low, parts[1].high)]
            return Interval(min(corners), max(corners))
    return ANY


def _mixture(node: Expr, found: Mapping[Expr, Interval]) -> Interval | None:
    """a + z (b - a), or z a + (1 - z) b, with z in [0, 1]: between a and b."""
    for first, second in (node.args, node.args[::-1]):
        if second.op != "mul":
            continue
        for z, rest in (second.args, second.args[::-1]):
            if not found[z].within(UNIT):
                continue
            if rest.op == "sub" and rest.args[1] is first:  # first + z (b - first)
                return found[first].hull(found[rest.args[0]])
            share = make("sub", 1.0, z)
            if first.op == "mul" and share in first.args:  # (1 - z) a + z b
                other = first.args[1 - first.args.index(share)]
                return found[other].hull(found[rest])
    return None


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0.0 or b == 0.0 else a * b


def _over(a: float, b: float) -> float:
    return 0.0 if math.isinf(b) else a / b

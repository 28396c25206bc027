"""Eligibility traces of a diagonal recurrence, derived from its equations.

The trace of parameter p at state variable i is E_{p,i} = ∂s_i/∂p along the past. One step carries it as
E_{p,t} = J_t E_{p,t-1} + D_{p,t}, with J = ∂step/∂state and D = ∂step/∂p taken directly; a reset zeroes it.
Every channel runs by itself, so E is one number per channel, row, parameter and state variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .expr import Expr, const, leaf, leaves, substitute
from .frontend import Recurrence
from .gradient import gradient
from .hoist import Hoisted, hoist


@dataclass(frozen=True)
class Traces:
    """J (k rows of k, flat) and D (per parameter k, flat), as expressions of x, s and what is hoisted; and J E + D, the
    next traces, as expressions of x, s, p and the traces e."""

    hoisted: Hoisted
    jacobian: tuple[Expr, ...]
    direct: tuple[Expr, ...]
    after: tuple[Expr, ...]
    names: Mapping[Expr, str] = field(default_factory=dict, repr=False, compare=False)


def traced(rec: Recurrence) -> bool:
    """Whether there are any: every channel runs by itself, and a parameter is part of the new state."""
    reaches = any(e.kind == "p" for e in leaves(rec.update))
    return rec.recurrent is None and not rec.headed and reaches


def derive_traces(rec: Recurrence) -> Traces:
    """D by way of the values h that depend on parameters alone, ∂step/∂p = Σ_h ∂step/∂h · ∂h/∂p: what belongs to a
    channel stays apart from what belongs to a step, and is hoisted whole."""
    parts, update, _ = hoist(rec.update, rec.names)
    values = {leaf("h", name): value for name, value in parts}
    state, params = [leaf("s", n) for n in rec.state], [leaf("p", n) for n in rec.params]
    slopes = {h: gradient({value: const(1.0)}, params) for h, value in values.items()}
    rows = [gradient({e: const(1.0)}, [*state, *values]) for e in update]
    direct = [sum((row[h] * slopes[h][p] for h in values), start=const(0.0)) for p in params for row in rows]
    made = substitute([*(row[s] for row in rows for s in state), *direct], values)
    hoisted, roots, names = hoist(made, rec.names)
    k = len(state)
    traces = trace_leaves(rec)
    after = []
    for place, total in enumerate(made[k * k :]):
        for m in range(k):
            total = total + made[place % k * k + m] * traces[place - place % k + m]
        after.append(total)
    return Traces(hoisted, roots[: k * k], roots[k * k :], tuple(after), names)


def trace_names(rec: Recurrence) -> tuple[str, ...]:
    """Parameter-major: E_p0_s0, E_p0_s1, E_p1_s0, …; none where nothing is traced."""
    if not traced(rec):
        return ()
    return tuple(f"E_{p}_{s}" for p in rec.params for s in rec.state)


def trace_leaves(rec: Recurrence) -> list[Expr]:
    """The traces before a step, in that order."""
    return [leaf("e", name.removeprefix("E_")) for name in trace_names(rec)]

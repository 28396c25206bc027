"""Eligibility traces of a diagonal recurrence, derived from its equations.

The trace of parameter p at state variable i is E_{p,i} = ∂s_i/∂p along the past. One step carries it as
E_{p,t} = J_t E_{p,t-1} + D_{p,t}, with J = ∂step/∂state and D = ∂step/∂p taken directly; a reset zeroes it.
Every channel runs by itself, so E is one number per channel, row, parameter and state variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .expr import Expr, const, leaf, leaves
from .frontend import Recurrence
from .gradient import gradient
from .hoist import Hoisted, hoist


@dataclass(frozen=True)
class Traces:
    """J (k rows of k, flat) and D (per parameter k, flat), as expressions of x, s and what is hoisted."""

    hoisted: Hoisted
    jacobian: tuple[Expr, ...]
    direct: tuple[Expr, ...]
    names: Mapping[Expr, str] = field(default_factory=dict, repr=False, compare=False)


def traced(rec: Recurrence) -> bool:
    """Whether there are any: every channel runs by itself, and a parameter is part of the new state."""
    reaches = any(e.kind == "p" for e in leaves(rec.update))
    return rec.recurrent is None and not rec.headed and reaches


def derive_traces(rec: Recurrence) -> Traces:
    state = [leaf("s", n) for n in rec.state]
    params = [leaf("p", n) for n in rec.params]
    rows = [gradient({e: const(1.0)}, [*state, *params]) for e in rec.update]
    jacobian = tuple(row[s] for row in rows for s in state)
    direct = tuple(row[p] for p in params for row in rows)
    hoisted, roots, names = hoist((*jacobian, *direct), rec.names)
    return Traces(hoisted, roots[: len(jacobian)], roots[len(jacobian) :], names)


def trace_names(rec: Recurrence) -> tuple[str, ...]:
    """Parameter-major: E_p0_s0, E_p0_s1, E_p1_s0, …; none where nothing is traced."""
    if not traced(rec):
        return ()
    return tuple(f"E_{p}_{s}" for p in rec.params for s in rec.state)

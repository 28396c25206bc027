"""What the torch loop over time runs: the step with recurrent terms already added, and the step's Jacobian.

The backward is linear in the adjoint of the new state, and its coefficients, the partial derivatives of one step, are
known at every step before the adjoint is. So they are computed for many steps at once, and the loop back over time is
left with products and sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .expr import Expr, const, leaf, substitute
from .frontend import Recurrence
from .gradient import gradient


@dataclass(frozen=True)
class Unrolled:
    """One step over x (of a shared gate: x + r), r of the other gates, s and h."""

    arguments: tuple[Expr, ...]
    update: tuple[Expr, ...]  # the new state
    entries: tuple[tuple[int, int], ...]  # (state variable, place) of every partial derivative that is not 0
    jacobian: tuple[Expr, ...]  # in the order of `entries`
    names: Mapping[Expr, str] = field(default_factory=dict, repr=False, compare=False)


def unroll(
    rec: Recurrence,
    update: tuple[Expr, ...],
    hoisted: tuple[Expr, ...],
    shared: tuple[bool, ...],
    names: Mapping[Expr, str],
) -> Unrolled:
    """Places count the gates in their order, then the previous state.

    Where d r is d x at every point, the step is a function of x + r: putting the sum in for x, and 0 for r, is exact.
    """
    folded = {leaf("r", g): const(0.0) for g, same in zip(rec.gates, shared, strict=True) if same}
    moved = substitute((*update, *names), folded)
    update, renamed = moved[: len(update)], moved[len(update) :]
    gates = [leaf("x" if same else "r", g) for g, same in zip(rec.gates, shared, strict=True)]
    state = [leaf("s", n) for n in rec.state]
    found: dict[tuple[int, int], Expr] = {}
    for i, root in enumerate(update):
        row = gradient({root: const(1.0)}, [*gates, *state])
        found |= {(i, place): row[e] for place, e in enumerate((*gates, *state)) if not _is_zero(row[e])}
    own = [g for g, same in zip(gates, shared, strict=True) if not same]
    return Unrolled(
        arguments=(*(leaf("x", n) for n in rec.inputs), *own, *state, *hoisted),
        update=update,
        entries=tuple(found),
        jacobian=tuple(found.values()),
        names={e: n for e, n in zip(renamed, names.values(), strict=True) if e.args},
    )


def _is_zero(e: Expr) -> bool:
    return e.op == "const" and e.value == 0.0

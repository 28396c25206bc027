"""Reverse mode on the DAG: the adjoint of every leaf as an expression."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .expr import Expr, const, leaf, walk
from .frontend import Recurrence
from .ops import OPS


def gradient(seeds: Mapping[Expr, Expr], wrt: Iterable[Expr]) -> dict[Expr, Expr]:
    """Adjoints of `wrt` (zero where nothing flows), given roots and their adjoints in `seeds`."""
    adjoint = adjoints(seeds)
    return {node: adjoint.get(node, const(0.0)) for node in wrt}


def adjoints(seeds: Mapping[Expr, Expr]) -> dict[Expr, Expr]:
    """The adjoint of every node that the seeds reach."""
    adjoint: dict[Expr, Expr] = dict(seeds)
    for node in reversed(list(walk(seeds))):
        flowing = adjoint.get(node)
        if flowing is None or not node.args:
            continue
        for arg, part in zip(node.args, OPS[node.op].rule(node, flowing), strict=True):
            if part is not None and arg.op != "const":
                adjoint[arg] = adjoint[arg] + part if arg in adjoint else part
    return adjoint


@dataclass(frozen=True)
class Backward:
    """One step backwards: the adjoints of the new state (leaves `d.*`) carried to everything that the step read."""

    inputs: tuple[Expr, ...]
    recurrent: tuple[Expr, ...]  # in the order of the gates
    state: tuple[Expr, ...]  # pointwise part only: the recurrent matrix adds its own
    values: tuple[Expr, ...]  # in the order of `h` leaves given
    names: dict[Expr, str]


def step_backward(
    rec: Recurrence,
    update: tuple[Expr, ...],
    hoisted: tuple[Expr, ...],
    names: Mapping[Expr, str],
    only: Iterable[str] | None = None,
) -> Backward:
    """Backward of one step whose equations are `update`, over x, r, s and the `hoisted` leaves; with `only`, of these
    state variables. The adjoint of what the author named a is called d_a."""
    seeds: dict[Expr, Expr] = {}
    wanted = rec.state if only is None else tuple(only)
    for name, new in zip(rec.state, update, strict=True):
        if name not in wanted:
            continue
        d = leaf("d", name)
        seeds[new] = seeds[new] + d if new in seeds else d
    adjoint = adjoints(seeds)

    def of(kind: str, names: tuple[str, ...]) -> tuple[Expr, ...]:
        return tuple(adjoint.get(leaf(kind, n), const(0.0)) for n in names)

    return Backward(
        inputs=of("x", rec.inputs),
        recurrent=of("r", rec.gates),
        state=of("s", rec.state),
        values=tuple(adjoint.get(h, const(0.0)) for h in hoisted),
        names={adjoint[e]: f"d_{n}" for e, n in names.items() if e in adjoint and adjoint[e].args},
    )

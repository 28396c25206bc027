"""Outputs that are no state: what a step gives out from its new state, its inputs and parameters.

Nothing of a read-out is carried, so it stands apart from the recurrence: in torch it is computed for all steps at once,
in a kernel right after the step. Its reverse mode hands the new state an adjoint, as an output that is a state variable
gets one from outside. Totals over a head cut it in two: summands before them, results after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .expr import Expr, const, leaf, leaves, substitute
from .frontend import Recurrence
from .gradient import adjoints


@dataclass(frozen=True)
class Back:
    """The adjoints of what a part of a read-out reads."""

    inputs: tuple[Expr, ...]
    state: tuple[Expr, ...]  # of the new state
    totals: tuple[Expr, ...]
    values: tuple[Expr, ...]  # of hoisted values
    names: Mapping[Expr, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def every(self) -> tuple[Expr, ...]:
        return (*self.inputs, *self.state, *self.totals, *self.values)


@dataclass(frozen=True)
class Readout:
    """Over leaves x, n (the new state), z (totals) and h."""

    names: tuple[str, ...]
    totals: tuple[str, ...]
    summands: tuple[Expr, ...]
    results: tuple[Expr, ...]
    summands_back: Back  # from leaves d.z_*
    results_back: Back  # from leaves d.* of the read-outs
    called: Mapping[Expr, str] = field(default_factory=dict, repr=False, compare=False)

    def seen(self, state: Sequence[str]) -> tuple[bool, ...]:
        """Per state variable: the reverse mode reads its new value."""
        read = leaves((*self.summands_back.every, *self.results_back.every))
        return tuple(leaf("n", s) in read for s in state)

    def seen_by_state(self, state: Sequence[str]) -> tuple[bool, ...]:
        """Of these: already the adjoint of the new state does."""
        read = leaves((*self.summands_back.state, *self.results_back.state, *self.results_back.totals))
        return tuple(leaf("n", s) in read for s in state)


def derive_readout(
    rec: Recurrence,
    update: Sequence[Expr],
    results: Sequence[Expr],
    summands: Sequence[Expr],
    hoisted: Sequence[Expr],
    names: Mapping[Expr, str],
) -> Readout:
    """From expressions in which the new state still stands as it was computed. Raises ValueError where a read-out needs
    the state before the step."""
    fresh = {e: leaf("n", s) for e, s in zip(update, rec.state, strict=True) if e.kind != "x" and e.op != "const"}
    moved = substitute((*results, *summands, *names), fresh)
    results, moved = moved[: len(results)], moved[len(results) :]
    summands, renamed = moved[: len(summands)], moved[len(summands) :]
    called = {e: n for e, n in zip(renamed, names.values(), strict=True) if e.args}
    for (name, _), root in zip((*rec.readouts, *rec.totals), (*results, *summands), strict=True):
        if old := sorted(f"{e.kind}.{e.name}" for e in leaves([root]) if e.kind in ("s", "r")):
            raise ValueError(
                f"{rec.name}: {name} reads {', '.join(old)}; a read-out reads the new state, inputs and parameters"
            )
    totals = tuple(n for n, _ in rec.totals)
    outputs = tuple(n for n, _ in rec.readouts)

    def back(roots: Sequence[Expr], seeds: Sequence[str], through: Sequence[str]) -> Back:
        given: dict[Expr, Expr] = {}
        for root, seed in zip(roots, seeds, strict=True):
            d = leaf("d", seed)
            given[root] = given[root] + d if root in given else d
        adjoint = adjoints(given)

        def of(kind: str, wanted: Sequence[str]) -> tuple[Expr, ...]:
            return tuple(adjoint.get(leaf(kind, n), const(0.0)) for n in wanted)

        return Back(
            inputs=of("x", rec.inputs),
            state=of("n", rec.state),
            totals=of("z", through),
            values=tuple(adjoint.get(h, const(0.0)) for h in hoisted),
            names={adjoint[e]: f"d_{n}" for e, n in called.items() if e in adjoint and adjoint[e].args},
        )

    return Readout(
        names=outputs,
        totals=totals,
        summands=summands,
        results=results,
        summands_back=back(summands, [f"z_{n}" for n in totals], ()),
        results_back=back(results, outputs, totals),
        called=called,
    )

"""The names that the Triton kernels of a recurrence enumerate, and where each variable stands in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .analysis import Facts
from .axes import Axes, axes_of, leaf_axes
from .emit_torch import differentiated
from .expr import Expr, const, leaf
from .frontend import Recurrence
from .gradient import Backward
from .pattern import Pattern
from .readout import Back

# Where a variable stands beside one of a channel, what one step of it is long, and which of its lanes are real.
# In a schedule without heads all have one number a channel, and `inside` says which channels are.
_SUFFIX: Mapping[Axes, str] = {"d": "", "ed": "_wide", "": "_head"}
_STRIDE: Mapping[Axes, str] = {"d": "H", "ed": "(E * H)", "": "(H // D)"}
_LANES: Mapping[Axes, str] = {"d": "own", "ed": "own_wide", "e": "own_feature"}


@dataclass(frozen=True)
class Adjoints:
    """What a reverse-mode function gives, by name: the axes of those adjoints that are not 0."""

    inputs: Mapping[str, Axes]
    state: Mapping[str, Axes]
    totals: Mapping[str, Axes]
    values: Mapping[str, Axes]


@dataclass(frozen=True)
class Names:
    """What all kernels enumerate."""

    inputs: tuple[str, ...]
    gates: tuple[str, ...]
    own: tuple[str, ...]  # gates whose d r is not d x
    state: tuple[str, ...]
    pointwise: tuple[str, ...]  # state variables whose previous value the equations read
    kept: tuple[str, ...]  # what the forward stores for the backward, at every step
    before: tuple[str, ...]  # of these: stored as the step read it; the others as the step made it, like an output
    outputs: tuple[str, ...]
    hoisted: tuple[str, ...]
    recurrent: str | None
    initial: dict[str, float]
    readouts: tuple[str, ...]  # of the outputs: those that are no state
    totals: tuple[str, ...]
    learned: tuple[str, ...]  # the inputs that get a gradient
    headed: bool
    axes: Mapping[str, Axes]  # of state variables, outputs and totals
    input_axes: Mapping[str, Axes]
    vjp: Adjoints
    vjp_wide: Adjoints | None
    read_vjp: Adjoints | None = None
    summands_vjp: Adjoints | None = None
    summand_axes: Mapping[str, Axes] = field(default_factory=dict)  # of what is summed to each total
    seen: tuple[str, ...] = ()  # new values that the adjoint of the new state is computed from
    pattern: Pattern | None = field(default=None, repr=False)

    def at(self, base: str, name: str, time: str = "") -> str:
        """Where `name` stands: `base` is at_row, at_start, at_seq or place; `time` counts steps from there."""
        axes = self.axes[name]
        return f"{base}{_SUFFIX[axes]}" + (f" + {time} * one * {_STRIDE[axes]}" if time else "")

    def real(self, axes: Axes, condition: str = "") -> str:
        """The lanes of these axes that are real, where a condition on the program's row and step holds. Without heads
        the condition is one on channels already."""
        if not self.headed or not axes:
            return condition
        lanes = _LANES[axes]
        return f"{lanes} & ({condition})" if " " in condition else f"{lanes} & {condition}" if condition else lanes

    def within(self, name: str, condition: str) -> str:
        """`real` for a variable."""
        return self.real(self.axes[name], condition)

    def of_axes(self, axes: Axes) -> list[str]:
        """The inputs of these axes, in order."""
        return [x for x in self.inputs if self.input_axes[x] == axes]

    @property
    def started(self) -> tuple[str, ...]:
        """The state variables whose start the backward reads too."""
        return tuple(s for s in self.pointwise if s not in self.before)

    @property
    def dots(self) -> bool:
        return self.recurrent is not None


def names_of(rec: Recurrence, facts: Facts) -> Names:
    pointwise = tuple(n for n, read in zip(rec.state, facts.pointwise, strict=True) if read)
    seen = tuple(n for n, new in zip(rec.state, facts.seen, strict=True) if new)
    kept = tuple(n for n in rec.state if n in pointwise or n == rec.recurrent or n in seen)
    read = facts.readout
    readouts, totals = (read.names, read.totals) if read else ((), ())
    known = leaf_axes(rec, [h for h, _ in facts.hoisted])
    learned = tuple(rec.inputs[i] for i in differentiated(rec))
    early = read.seen_by_state(rec.state) if read else ()

    def found(names: Sequence[str], adjoints: Sequence[Expr]) -> dict[str, Axes]:
        axes = axes_of(adjoints, known)
        return {n: a for n, e, a in zip(names, adjoints, axes, strict=True) if e is not const(0.0)}

    def adjoints(back: Backward | Back) -> Adjoints:
        through = back.totals if isinstance(back, Back) else ()
        return Adjoints(
            inputs={n: a for n, a in found(rec.inputs, back.inputs).items() if n in learned},
            state=found(rec.state, back.state),
            totals=found(totals[: len(through)], through),
            values=found([h for h, _ in facts.hoisted], back.values),
        )

    summed = dict(zip(totals, axes_of(read.summands, known), strict=True)) if read else {}
    known |= {leaf("d", f"z_{n}"): axes for n, axes in summed.items()}
    return Names(
        inputs=rec.inputs,
        gates=rec.gates,
        own=tuple(g for g, shared in zip(rec.gates, facts.shared, strict=True) if not shared),
        state=rec.state,
        pointwise=pointwise,
        kept=kept,
        before=tuple(n for n in kept if rec.recurrent and not (n in pointwise and n in rec.outputs)),
        outputs=rec.outputs,
        hoisted=tuple(n for n, _ in facts.hoisted),
        recurrent=rec.recurrent,
        initial=dict(zip(rec.state, rec.initial, strict=True)),
        readouts=readouts,
        totals=totals,
        learned=learned,
        headed=rec.headed,
        axes={
            **dict(zip(rec.state, rec.state_axes, strict=True)),
            **dict.fromkeys(readouts, "d"),
            **dict.fromkeys(totals, ""),
        },
        input_axes=dict(zip(rec.inputs, rec.input_axes, strict=True)),
        vjp=adjoints(facts.backward),
        vjp_wide=adjoints(facts.backward_wide) if facts.backward_wide else None,
        read_vjp=adjoints(read.results_back) if read else None,
        summands_vjp=adjoints(read.summands_back) if totals and read else None,
        summand_axes=summed,
        seen=tuple(n for n, new in zip(rec.state, early, strict=True) if new) if read else (),
        pattern=facts.pattern,
    )

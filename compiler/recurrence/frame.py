"""What the Triton kernels of a recurrence share: the names they enumerate, their arguments, their heads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .analysis import Facts
from .frontend import Recurrence

Arguments = list[tuple[str, str]]  # name and comment of each


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

    @property
    def started(self) -> tuple[str, ...]:
        """The state variables whose start the backward reads too."""
        return tuple(s for s in self.pointwise if s not in self.before)

    @property
    def dots(self) -> bool:
        return self.recurrent is not None


def names_of(rec: Recurrence, facts: Facts) -> Names:
    pointwise = tuple(n for n, read in zip(rec.state, facts.pointwise, strict=True) if read)
    kept = tuple(n for n in rec.state if n in pointwise or n == rec.recurrent)
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
    )


def kernel(name: str, doc: str, arguments: Arguments, constants: Iterable[str], body: Iterable[str]) -> str:
    """The text of one kernel."""
    sizes = ", ".join(f'"{a}"' for a, _ in arguments if not a.endswith("_ptr"))
    lines = [f"@triton.jit(do_not_specialize=[{sizes}])", f"def {name}("]
    lines += [f"    {a},  # {comment}" if comment else f"    {a}," for a, comment in arguments]
    lines += [f"    {c}: tl.constexpr," for c in constants]
    return "\n".join([*lines, "):", f'    """{doc}"""', *(f"    {line}" for line in body)])


def forward_arguments(n: Names) -> Arguments:
    """Pointers and sizes of a forward loop, in order; the launcher follows it. C: chunks of T, 1 unless said."""
    return [
        ("x_ptr", f"[B, T, {len(n.inputs)}, H]: {', '.join(n.inputs)}"),
        ("resets_ptr", "[B, T] 0 or 1"),
        *([("weight_ptr", "[N, gates, D, D] (out, in)")] if n.dots else []),
        *((f"h_{h}_ptr", "[H]") for h in n.hoisted),
        *((f"start_{s}_ptr", "[B, C, H]") for s in n.state),
        *((f"out_{s}_ptr", "[B, T, H]") for s in n.outputs),
        *((f"kept_{s}_ptr", "[B, T, H], for the backward") for s in n.kept),
        *((f"last_{s}_ptr", "[B, H]") for s in n.state),
        ("B", ""),
        ("T", ""),
    ]


def backward_arguments(n: Names) -> Arguments:
    """Pointers and sizes of a backward loop, in order."""
    return [
        ("x_ptr", f"[B, T, {len(n.inputs)}, H]: {', '.join(n.inputs)}"),
        ("resets_ptr", "[B, T] 0 or 1"),
        *([("r_ptr", "[N, B·T, gates, D] R y of every step")] if n.dots else []),
        *([("weight_ptr", "[N, gates, D, D] (out, in)")] if n.dots else []),
        *((f"h_{h}_ptr", "[H]") for h in n.hoisted),
        *((f"start_{s}_ptr", "[B, C, H]") for s in n.started),
        *((f"kept_{s}_ptr", "[B, T, H]") for s in n.pointwise),
        *((f"d_out_{s}_ptr", "[B, T, H]") for s in n.outputs),
        *((f"d_last_{s}_ptr", "[B, C, H]") for s in n.state),
        ("d_x_ptr", f"[B, T, {len(n.inputs)}, H]"),
        *([("d_r_ptr", f"[B, T, {len(n.own)}, H]: {', '.join(n.own)}")] if n.own else []),
        *((f"d_start_{s}_ptr", "[B, H]") for s in n.state),
        *((f"d_h_{h}_ptr", "[B, C, H]") for h in n.hoisted),
        ("B", ""),
        ("T", ""),
    ]


def load_x(n: Names, prefix: str, time: str, mask: str) -> list[str]:
    """Every input at one time, `at_x` being its place at time 0."""
    at = f"at_x + {time} * one * ({len(n.inputs)} * H)"
    return [f"{prefix}_{x} = tl.load(x_ptr + {at} + {i} * H, mask={mask}, other=0.0)" for i, x in enumerate(n.inputs)]


def load_hoisted(hoisted: Iterable[str], mask: str) -> list[str]:
    return [f"h_{h} = tl.load(h_{h}_ptr + channel, mask={mask}, other=0.0)" for h in hoisted]


def masked(n: Names, state: Iterable[str], reset: str = "reset") -> list[str]:
    """A reset selects the initial state; what was there before is not read, NaN included."""
    lines = [f"    s_{s} = tl.where({reset}, {n.initial[s]}, s_{s})" for s in state]
    return ["if HAS_RESETS:", *lines] if lines else []


def call(results: list[str], function: str, given: list[str]) -> list[str]:
    """`results = function(given)`; a function of one result returns a tuple too."""
    left = ", ".join(results) if len(results) > 1 else f"({results[0]},)"
    return [f"{left} = {function}({', '.join(given)})"]

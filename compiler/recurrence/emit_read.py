"""Read-outs in the Triton kernels, and how adjoints find the shape of what they are the adjoint of.

With heads a tile is [features, channels] of one head. What the channels of a head share stands in it as one row or
column, and its adjoint is summed over what it was shared by: in the program, which has the whole head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .axes import Axes
from .frame import call
from .names import Adjoints, Names

_FOLDS = {"": "", "d": "over_lanes", "e": "over_features", "ed": "over_head"}


# Sums that are taken together, as many as have a function: lanes of several warps meet once for all of them.
MOST = 3


def fold(n: Names, adjoints: Mapping[str, tuple[Axes, Axes]]) -> list[str]:
    """Each adjoint, of the axes that it has, as one with the axes of its variable."""
    groups: dict[tuple[str, Axes], list[str]] = {}
    for name, (found, wanted) in adjoints.items():
        gone = "".join(a for a in found if a not in wanted)
        if n.headed and gone:
            groups.setdefault((_FOLDS[gone], found), []).append(name)
    lines = []
    for (function, found), names in groups.items():
        most = 1 if function == "over_features" else MOST
        for some in (names[i : i + most] for i in range(0, len(names), most)):
            number = f"_{len(some)}" if len(some) > 1 else ""
            lines += [f"{', '.join(some)} = {function}{number}({', '.join(some)}, {n.real(found)})"]
    return lines


def forward_lines(n: Names) -> list[str]:
    """The read-outs y_* and totals z_*, from inputs x_* and a new state s_*."""
    if not n.readouts:
        return []
    given, values = [f"x_{x}" for x in n.inputs] + [f"s_{s}" for s in n.state], [f"h_{h}" for h in n.hoisted]
    lines: list[str] = []
    if n.summands_vjp is not None:
        lines += call([f"z_{t}" for t in n.totals], "summands_tile", [*given, *values])
        lines += fold(n, {f"z_{t}": (n.summand_axes[t], "") for t in n.totals})
    return lines + call([f"y_{y}" for y in n.readouts], "read_tile", [*given, *(f"z_{t}" for t in n.totals), *values])


def backward_lines(n: Names, state: Mapping[str, str]) -> list[str]:
    """What read-outs add to the adjoints d_* of the new state, given the names of its values, totals z_* and d_y_*.

    Leaves what they add to the adjoints of inputs and hoisted values in read_* and sum_*: see `input_parts`."""
    if n.read_vjp is None:
        return []
    given, values = [f"x_{x}" for x in n.inputs] + [state[s] for s in n.state], [f"h_{h}" for h in n.hoisted]
    lines = call(
        results(n, "read", n.totals),
        "read_vjp_tile",
        [*given, *(f"z_{t}" for t in n.totals), *values, *(f"d_y_{y}" for y in n.readouts)],
    )
    halves = [("read", n.read_vjp)]
    if n.summands_vjp is not None:
        lines += fold(n, {f"read_z_{t}": (n.read_vjp.totals.get(t, ""), "") for t in n.totals})
        lines += call(results(n, "sum"), "summands_vjp_tile", [*given, *values, *(f"read_z_{t}" for t in n.totals)])
        halves += [("sum", n.summands_vjp)]
    lines += fold(n, {f"{p}_n_{s}": (axes, n.axes[s]) for p, found in halves for s, axes in found.state.items()})
    return lines + [f"d_{s} += {p}_n_{s}" for p, found in halves for s in found.state]


def results(n: Names, prefix: str, totals: Iterable[str] = ()) -> list[str]:
    """What a reverse-mode function gives, in its order, by names that begin with `prefix`."""
    return [
        *(f"{prefix}_x_{x}" for x in n.learned),
        *(f"{prefix}_n_{s}" for s in n.state),
        *(f"{prefix}_z_{t}" for t in totals),
        *(f"{prefix}_h_{h}" for h in n.hoisted),
    ]


def cleaned(n: Names, names: Iterable[str]) -> list[str]:
    """With heads a backward reads a NaN of before a reset as 0: the adjoint there is 0, and 0 times NaN is not."""
    return ["if HAS_RESETS:", *(f"    {name} = finite({name})" for name in names)] if n.headed else []


def input_parts(n: Names) -> list[str]:
    """d_x_* and d_h_* of a step: from `vjp_tile`, where they have these names already, and from the read-outs."""
    folds: dict[str, tuple[Axes, Axes]] = {}
    halves: list[tuple[str, Adjoints]] = [("d", n.vjp)]
    halves += [("wide", n.vjp_wide)] if n.vjp_wide else []
    halves += [("read", n.read_vjp)] if n.read_vjp else []
    halves += [("sum", n.summands_vjp)] if n.summands_vjp else []
    if len(halves) == 1 and not n.headed:
        return []
    for half, found in halves:
        folds |= {f"{half}_x_{x}": (axes, n.input_axes[x]) for x, axes in found.inputs.items()}
        folds |= {f"{half}_h_{h}": (axes, "d") for h, axes in found.values.items()}
    lines = fold(n, folds)
    for name in (*(f"x_{x}" for x in n.learned), *(f"h_{h}" for h in n.hoisted)):
        parts = [f"{half}_{name}" for half, _ in halves if f"{half}_{name}" in folds]
        lines += [f"d_{name} = {' + '.join(parts) or '0.0'}"] if parts != [f"d_{name}"] else []
    return lines

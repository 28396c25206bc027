"""The torch half of a generated module: one step, its backward, and what surrounds them, on whole tensors."""

from __future__ import annotations

from .analysis import Facts
from .expr import Expr, leaf
from .frontend import Recurrence
from .gradient import Backward, adjoints
from .jacobian import Unrolled
from .printer import Target, print_function
from .readout import Back
from .traces import trace_leaves, trace_names


def step_arguments(rec: Recurrence, facts: Facts) -> list[Expr]:
    """What one step reads, in the order of every generated function: x, r, previous state, hoisted values."""
    return [
        *(leaf("x", n) for n in rec.inputs),
        *(leaf("r", n) for n in rec.gates),
        *(leaf("s", n) for n in rec.state),
        *(leaf("h", n) for n, _ in facts.hoisted),
    ]


def differentiated(rec: Recurrence) -> list[int]:
    """The inputs that get a gradient: all but those that are data."""
    return [i for i, axes in enumerate(rec.input_axes) if axes]


def backward_results(rec: Recurrence, facts: Facts, back: Backward | None = None) -> list[Expr]:
    """What one backward step gives: d x, d r of the gates that are not shared, d s (pointwise part), d hoisted."""
    back = back or facts.backward
    own = [d for d, shared in zip(back.recurrent, facts.shared, strict=True) if not shared]
    return [*(back.inputs[i] for i in differentiated(rec)), *own, *back.state, *back.values]


def read_arguments(rec: Recurrence, facts: Facts, totals: bool) -> list[Expr]:
    """What a read-out reads: x, new state, totals (or the summands do without), hoisted values."""
    return [
        *(leaf("x", n) for n in rec.inputs),
        *(leaf("n", n) for n in rec.state),
        *(leaf("z", n) for n, _ in rec.totals if totals),
        *(leaf("h", n) for n, _ in facts.hoisted),
    ]


def read_back_results(rec: Recurrence, back: Back) -> list[Expr]:
    """d x, d n, d z, d hoisted of one half of a read-out."""
    return [*(back.inputs[i] for i in differentiated(rec)), *back.state, *back.totals, *back.values]


def emit_torch(rec: Recurrence, facts: Facts) -> str:
    """Functions `step`, `vjp` and, where they apply, `read` and what belongs to it, `hoist`, `hoist_vjp`, `advance`,
    `jacobian`, `affine`, `trace`, `traced_step`."""
    x0 = leaf("x", rec.inputs[0])
    arguments = step_arguments(rec, facts)
    adjoint = [leaf("d", n) for n in rec.state]
    parts = []
    if facts.hoisted:
        parts += _hoist(rec, facts)
    parts.append(
        print_function(
            "step",
            arguments,
            facts.update,
            target="torch",
            names=facts.names,
            anchor=x0,
            doc=f"The equations: the new {', '.join(rec.state)}.",
        )
    )
    parts.append(
        print_function(
            "vjp",
            [*arguments, *adjoint],
            backward_results(rec, facts),
            target="torch",
            names={**facts.names, **facts.backward.names},
            anchor=None if rec.headed else x0,
            doc="Reverse mode of `step`: adjoints d_* of the new state to adjoints of what it read.",
        )
    )
    if facts.backward_wide is not None:
        parts.append(emit_vjp_wide(rec, facts, facts.backward_wide, "torch"))
    if facts.readout is not None:
        parts += emit_readout(rec, facts, "torch")
    if facts.unrolled is not None:
        parts += _unrolled(facts.unrolled)
    if facts.transition is not None and facts.offset is not None:
        parts.append(
            print_function(
                "affine",
                [leaf("x", n) for n in rec.inputs] + [leaf("h", n) for n, _ in facts.hoisted],
                affine_results(facts),
                target="torch",
                names={},
                doc="The step as A s + b: the entries of A that are not 0, by rows, then b.",
            )
        )
    if facts.traces is not None:
        order = ", ".join(trace_names(rec))
        if facts.traces.hoisted:
            parts.append(
                print_function(
                    "trace_hoist",
                    [leaf("p", n) for n in rec.params],
                    [value for _, value in facts.traces.hoisted],
                    target="torch",
                    names=rec.names,
                    doc="What `trace` reads that depends on parameters alone.",
                )
            )
        parts.append(
            print_function(
                "trace",
                [
                    *(leaf("x", n) for n in rec.inputs),
                    *(leaf("s", n) for n in rec.state),
                    *(leaf("h", n) for n, _ in facts.traces.hoisted),
                ],
                [*facts.traces.jacobian, *facts.traces.direct],
                target="torch",
                names=facts.traces.names,
                doc=f"E' = J E + D for {order}:\n    the entries of J by rows, then D in that order.",
            )
        )
        parts.append(
            print_function(
                "traced_step",
                [
                    *(leaf("x", n) for n in rec.inputs),
                    *(leaf("s", n) for n in rec.state),
                    *(leaf("p", n) for n in rec.params),
                    *trace_leaves(rec),
                ],
                [*rec.update, *facts.traces.after],
                target="torch",
                names=rec.names,
                anchor=x0,
                doc=f"One step and its traces: the new {', '.join(rec.state)}, then {order}.",
                brief=True,
            )
        )
    return "\n\n\n".join(parts)


def emit_vjp_wide(rec: Recurrence, facts: Facts, back: Backward, target: Target) -> str:
    """`vjp` is then that of the state variables without features alone, and this that of the others."""
    return print_function(
        "vjp_wide_tile" if target == "triton" else "vjp_wide",
        [*step_arguments(rec, facts), *(leaf("d", n) for n in rec.state)],
        backward_results(rec, facts, back),
        target=target,
        names={**facts.names, **back.names},
        doc="What reverse mode adds for the state variables that have features.",
    )


def affine_results(facts: Facts) -> list[Expr]:
    """The entries of A that are not 0, by rows, then b."""
    assert facts.transition is not None and facts.offset is not None and facts.pattern is not None
    return [*(facts.transition[i][j] for i, j in facts.pattern.step), *facts.offset]


def emit_readout(rec: Recurrence, facts: Facts, target: Target) -> list[str]:
    """`read` and `read_vjp`; around totals also `summands` and `summands_vjp`. On Triton their names end in _tile."""
    read = facts.readout
    assert read is not None
    end = "_tile" if target == "triton" else ""
    halves = [("read", read.results, read.results_back, read.names, True)]
    if read.totals:
        halves.insert(0, ("summands", read.summands, read.summands_back, tuple(f"z_{n}" for n in read.totals), False))
    parts = []
    for name, results, back, seeds, totals in halves:
        given = read_arguments(rec, facts, totals)
        what = f"Read-outs {', '.join(seeds)}" if totals else f"What is summed over a head to {', '.join(read.totals)}"
        parts += [
            print_function(
                f"{name}{end}",
                given,
                results,
                target=target,
                names=read.called,
                doc=f"{what}, from the inputs x_ and the new state n_.",
            ),
            print_function(
                f"{name}_vjp{end}",
                [*given, *(leaf("d", s) for s in seeds)],
                read_back_results(rec, back),
                target=target,
                names={**read.called, **back.names},
                doc=f"Reverse mode of `{name}{end}`: adjoints of x_, n_, {'z_, ' if totals else ''}h_.",
            ),
        ]
    return parts


def hoist_adjoints(rec: Recurrence, facts: Facts) -> tuple[list[Expr], dict[Expr, str]]:
    """The adjoints of the parameters, from those of the hoisted values `d.*`; and what the lines are called."""
    seeds: dict[Expr, Expr] = {}
    for name, value in facts.hoisted:
        d = leaf("d", name)
        seeds[value] = seeds[value] + d if value in seeds else d
    found = adjoints(seeds)
    d_names = {found[e]: f"d_{n}" for e, n in rec.names.items() if e in found and found[e].args}
    return [found[leaf("p", n)] for n in rec.params], {**rec.names, **d_names}


def _hoist(rec: Recurrence, facts: Facts) -> list[str]:
    params = [leaf("p", n) for n in rec.params]
    found, names = hoist_adjoints(rec, facts)
    return [
        print_function(
            "hoist",
            params,
            [value for _, value in facts.hoisted],
            target="torch",
            names=rec.names,
            doc="What depends on parameters alone, computed once before the loop: "
            + ", ".join(n for n, _ in facts.hoisted)
            + ".",
        ),
        print_function(
            "hoist_vjp",
            [*params, *(leaf("d", n) for n, _ in facts.hoisted)],
            found,
            target="torch",
            names=names,
            doc="Reverse mode of `hoist`.",
        ),
    ]


def _unrolled(loop: Unrolled) -> list[str]:
    return [
        print_function(
            "advance",
            loop.arguments,
            loop.update,
            target="torch",
            names=loop.names,
            anchor=loop.arguments[0],
            doc="`step`, where x_ of a gate that has no r_ here is the sum of both.",
            brief=True,
        ),
        print_function(
            "jacobian",
            loop.arguments,
            loop.jacobian,
            target="torch",
            names=loop.names,
            doc="The partial derivatives of `advance` that are not 0, in the order of ENTRIES.",
            release=True,
            brief=True,
        ),
    ]

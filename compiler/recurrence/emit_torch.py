"""The torch half of a generated module: one step, its backward, and what surrounds them, on whole tensors."""

from __future__ import annotations

from .analysis import Facts
from .expr import Expr, leaf
from .frontend import Recurrence
from .gradient import adjoints
from .jacobian import Unrolled
from .printer import print_function
from .traces import trace_names


def step_arguments(rec: Recurrence, facts: Facts) -> list[Expr]:
    """What one step reads, in the order of every generated function: x, r, previous state, hoisted values."""
    return [
        *(leaf("x", n) for n in rec.inputs),
        *(leaf("r", n) for n in rec.gates),
        *(leaf("s", n) for n in rec.state),
        *(leaf("h", n) for n, _ in facts.hoisted),
    ]


def backward_results(rec: Recurrence, facts: Facts) -> list[Expr]:
    """What one backward step gives: d x, d r of the gates that are not shared, d s (pointwise part), d hoisted."""
    back = facts.backward
    own = [d for d, shared in zip(back.recurrent, facts.shared, strict=True) if not shared]
    return [*back.inputs, *own, *back.state, *back.values]


def emit_torch(rec: Recurrence, facts: Facts) -> str:
    """Functions `step`, `vjp` and, where they apply, `hoist`, `hoist_vjp`, `advance`, `jacobian`, `affine`, `trace`."""
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
            anchor=x0,
            doc="Reverse mode of `step`: adjoints d_* of the new state to adjoints of what it read.",
        )
    )
    if facts.unrolled is not None:
        parts += _unrolled(facts.unrolled)
    if facts.transition is not None and facts.offset is not None:
        parts.append(
            print_function(
                "affine",
                [leaf("x", n) for n in rec.inputs] + [leaf("h", n) for n, _ in facts.hoisted],
                [*(a for row in facts.transition for a in row), *facts.offset],
                target="torch",
                names={},
                doc="The step as A s + b: the entries of A by rows, then b.",
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
    return "\n\n\n".join(parts)


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
        ),
        print_function(
            "jacobian",
            loop.arguments,
            loop.jacobian,
            target="torch",
            names=loop.names,
            doc="The partial derivatives of `advance` that are not 0, in the order of ENTRIES.",
            release=True,
        ),
    ]

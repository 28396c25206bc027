"""The Triton half of a generated module: the cell as device functions, its kernels, and how they may be compiled."""

from __future__ import annotations

from . import emit_loop, emit_scan
from .analysis import Facts
from .emit_torch import backward_results, step_arguments
from .expr import leaf
from .frontend import Recurrence
from .printer import print_function
from .traces import trace_names

# Example constants under which every kernel compiles ahead of time; the launcher sets its own.
CONSTANTS: dict[str, object] = {
    "H": 128,
    "D": 64,
    "BLOCK": 64,
    "BLOCK_B": 16,
    "BLOCK_D": 64,
    "BLOCK_T": 32,
    "PRECISION": "ieee",
    "HAS_RESETS": True,
}


def emit_triton(rec: Recurrence, facts: Facts) -> str:
    """Device functions `step_tile` and `vjp_tile`, the kernels, and the table KERNELS."""
    n = emit_loop.names_of(rec, facts)
    x0 = leaf("x", rec.inputs[0])
    arguments = step_arguments(rec, facts)
    parts = [
        print_function(
            "step_tile",
            arguments,
            facts.update,
            target="triton",
            names=facts.names,
            anchor=x0,
            doc=f"The equations on a tile: the new {', '.join(rec.state)}.",
        ),
        print_function(
            "vjp_tile",
            [*arguments, *(leaf("d", s) for s in rec.state)],
            backward_results(rec, facts),
            target="triton",
            names={**facts.names, **facts.backward.names},
            anchor=x0,
            doc="Reverse mode of `step_tile`.",
        ),
    ]
    how = "One program: one head, BLOCK_B rows, all of T." if n.dots else "One program: BLOCK channels, all of T."
    parts.append(emit_loop.emit_forward(n, how))
    parts.append(emit_loop.emit_backward(n, f"{how} Time runs backwards."))
    flags = [f"KEEP_{s}" for s in n.kept]
    table = {
        "forward": ("forward_kernel", emit_loop.forward_arguments(n), emit_loop.constants(n, *flags)),
        "backward": ("backward_kernel", emit_loop.backward_arguments(n), emit_loop.constants(n)),
    }
    if facts.scan:
        parts += _scan_parts(rec, facts, n)
        table["scan_forward"] = ("scan_forward_kernel", emit_loop.forward_arguments(n), emit_scan.constants(*flags))
        table["scan_backward"] = ("scan_backward_kernel", emit_loop.backward_arguments(n), emit_scan.constants())
    if facts.traces is not None:
        hoisted, traces = tuple(h for h, _ in facts.traces.hoisted), trace_names(rec)
        parts += _trace_parts(rec, facts, n)
        table["trace"] = ("trace_kernel", emit_scan.trace_arguments(n, hoisted, traces), emit_scan.constants())
    parts.append(_table(table))
    return "\n\n\n".join(parts)


def _scan_parts(rec: Recurrence, facts: Facts, n: emit_loop.Names) -> list[str]:
    """The step as A s + b on a tile, its composition, and the two scans."""
    assert facts.transition is not None and facts.offset is not None
    arguments = [*(leaf("x", i) for i in rec.inputs), *(leaf("h", h) for h in n.hoisted)]
    affine = print_function(
        "affine_tile",
        arguments,
        [*(a for row in facts.transition for a in row), *facts.offset],
        target="triton",
        names={},
        anchor=leaf("x", rec.inputs[0]),
        doc="The step as A s + b: the entries of A by rows, then b.",
    )
    return [
        affine,
        emit_scan.emit_compose(len(rec.state)),
        emit_scan.emit_forward(n),
        emit_scan.emit_backward(n, facts.constant_transition),
    ]


def _trace_parts(rec: Recurrence, facts: Facts, n: emit_loop.Names) -> list[str]:
    """One step's J and D on a tile, and the kernel that sums them over time."""
    assert facts.traces is not None
    hoisted, traces = tuple(h for h, _ in facts.traces.hoisted), trace_names(rec)
    tile = print_function(
        "trace_tile",
        [*(leaf("x", i) for i in rec.inputs), *(leaf("s", s) for s in rec.state), *(leaf("h", h) for h in hoisted)],
        [*facts.traces.jacobian, *facts.traces.direct],
        target="triton",
        names=facts.traces.names,
        anchor=leaf("x", rec.inputs[0]),
        doc=f"E' = J E + D for {', '.join(traces)}:\n    the entries of J by rows, then D in that order.",
    )
    return [tile, emit_scan.emit_chain(len(rec.state)), emit_scan.emit_trace(n, hoisted, traces)]


def _table(table: dict[str, tuple[str, list[tuple[str, str]], list[str]]]) -> str:
    """KERNELS: role to kernel, with example types and constants."""
    rows = []
    for role, (name, given, constants) in table.items():
        types = {a: _example_type(a) for a, _ in given}
        fixed = {c: CONSTANTS.get(c, True) for c in constants}
        rows += [f'    "{role}": Kernel(', f"        function={name},", "        signature={"]
        rows += [f'            "{a}": "{t}",' for a, t in types.items()]
        rows += ["        },", "        constants={"]
        rows += [f'            "{c}": {v!r},'.replace("'", '"') for c, v in fixed.items()]
        rows += ["        },", "    ),"]
    return "\n".join(["KERNELS = {", *rows, "}"])


def _example_type(argument: str) -> str:
    if argument in ("B", "T"):
        return "i32"
    return "*u8" if argument == "resets_ptr" else "*fp32"

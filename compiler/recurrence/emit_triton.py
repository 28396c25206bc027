"""The Triton half of a generated module: the cell as device functions, its kernels, and how they may be compiled."""

from __future__ import annotations

from . import emit_chunks, emit_hoist, emit_loop, emit_trace
from .analysis import Facts
from .emit_torch import affine_results, backward_results, emit_readout, emit_vjp_wide, step_arguments
from .expr import leaf
from .frame import Arguments, backward_arguments, forward_arguments
from .frontend import Recurrence
from .names import Names, names_of
from .printer import print_function
from .schedules import CHANNELS, HEAD, SPLIT, chunked
from .traces import trace_names

# Example constants under which every kernel compiles ahead of time; the launcher sets its own.
CONSTANTS: dict[str, object] = {
    "H": 128,
    "D": 64,
    "BLOCK": 64,
    "BLOCK_B": 16,
    "ROWS": 16,
    "OWN": False,
    "E": 6,
    "BLOCK_E": 8,
    "BLOCK_D": 64,
    "BLOCK_U": 16,
    "BLOCK_K": 64,
    "SLICES": 4,
    "BLOCK_R": 16,
    "PARTS": 4,
    "STEP": True,
    "THROUGH": True,
    "PRECISION": "ieee",
    "HAS_RESETS": True,
    "REVERSED": False,
}
# (kernel, arguments, constants) by role
Table = dict[str, tuple[str, Arguments, list[str]]]


def emit_triton(rec: Recurrence, facts: Facts) -> str:
    """Device functions `step_tile` and `vjp_tile`, the kernels, and the table KERNELS."""
    n = names_of(rec, facts)
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
    table: Table = {}
    if facts.backward_wide is not None:
        parts.append(emit_vjp_wide(rec, facts, facts.backward_wide, "triton"))
    if facts.readout is not None:
        parts += emit_readout(rec, facts, "triton")
    for how in (HEAD, SPLIT) if n.dots else (chunked(n),):
        parts += [emit_loop.emit_forward(n, how), emit_loop.emit_backward(n, how)]
        forward, backward = f"{how.name}_forward", f"{how.name}_backward"
        table[forward] = (
            f"{forward}_kernel",
            [*forward_arguments(n), *how.arguments],
            emit_loop.forward_constants(n, how),
        )
        table[backward] = (f"{backward}_kernel", [*backward_arguments(n), *how.arguments], list(how.constants))
    if facts.hoisted:
        parts += emit_hoist.emit_hoist(rec, facts.hoisted, "hoist")
        parts += emit_hoist.emit_hoist_vjp(rec, facts)
        given = emit_hoist.hoist_arguments(rec, facts.hoisted)
        table["hoist"] = ("hoist_kernel", given, list(emit_hoist.CONSTANTS))
        given = emit_hoist.hoist_vjp_arguments(rec, facts)
        table["hoist_vjp"] = ("hoist_vjp_kernel", given, emit_hoist.hoist_vjp_constants(rec, facts))
    if facts.scan:
        parts += _chunk_parts(rec, facts, n, table)
    if facts.traces is not None:
        parts += _trace_parts(rec, facts, n, table)
    parts.append(_table(table))
    return "\n\n\n".join(parts)


def _chunk_parts(rec: Recurrence, facts: Facts, n: Names, table: Table) -> list[str]:
    """The step as A s + b on a tile, and what makes T parallel with it."""
    assert facts.transition is not None and facts.offset is not None
    arguments = [*(leaf("x", i) for i in rec.inputs), *(leaf("h", h) for h in n.hoisted)]
    affine = print_function(
        "affine_tile",
        arguments,
        affine_results(facts),
        target="triton",
        names={},
        anchor=leaf("x", rec.inputs[0]),
        doc="The step as A s + b: the entries of A that are not 0, by rows, then b.",
    )
    own = list(chunked(n).constants)
    table["summary"] = ("summary_kernel", emit_chunks.summary_arguments(n), own)
    table["back_summary"] = ("back_summary_kernel", emit_chunks.back_summary_arguments(n), own)
    table["carry"] = ("carry_kernel", emit_chunks.carry_arguments(n), emit_chunks.carry_constants(n))
    return [
        affine,
        emit_chunks.emit_summary(n),
        emit_chunks.emit_back_summary(n, facts.constant_transition),
        emit_chunks.emit_carry(n),
    ]


def _trace_parts(rec: Recurrence, facts: Facts, n: Names, table: Table) -> list[str]:
    """One step's J and D on a tile, and the kernels that carry E over time."""
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
    before = []
    if hoisted:
        before = emit_hoist.emit_hoist(rec, facts.traces.hoisted, "trace_hoist")
        given = emit_hoist.hoist_arguments(rec, facts.traces.hoisted)
        table["trace_hoist"] = ("trace_hoist_kernel", given, list(emit_hoist.CONSTANTS))
    table["trace"] = ("trace_kernel", emit_trace.trace_arguments(n, hoisted, traces), list(CHANNELS.constants))
    given = emit_trace.trace_carry_arguments(n, traces)
    table["trace_carry"] = ("trace_carry_kernel", given, list(emit_trace.CARRY_CONSTANTS))
    return [*before, tile, emit_trace.emit_trace(n, hoisted, traces), emit_trace.emit_trace_carry(n, traces)]


def _table(table: Table) -> str:
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
    if not argument.endswith("_ptr"):
        return "i32"
    return {"resets_ptr": "*u8", "cut_ptr": "*i8", "arrived_ptr": "*i32"}.get(argument, "*fp32")

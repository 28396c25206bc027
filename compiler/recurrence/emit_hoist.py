"""Triton kernels for what depends on parameters alone: its values before a loop, and the parameters' gradients after.

In torch these are some dozens of operations on [H], each a launch that costs more than its work.
"""

from __future__ import annotations

from collections.abc import Sequence

from .analysis import Facts
from .emit_torch import hoist_adjoints
from .expr import leaf
from .frame import Arguments, call, kernel
from .frontend import Recurrence
from .hoist import Hoisted
from .printer import print_function
from .traces import trace_names

CONSTANTS = ("H", "BLOCK")


def hoist_arguments(rec: Recurrence, hoisted: Hoisted) -> Arguments:
    return [*((f"p_{p}_ptr", "[H]") for p in rec.params), *((f"h_{h}_ptr", "[H]") for h, _ in hoisted)]


def emit_hoist(rec: Recurrence, hoisted: Hoisted, name: str) -> list[str]:
    """The values that a loop reads, or with `name` "trace_hoist" those that the traces read."""
    tile = print_function(
        f"{name}_tile",
        [leaf("p", p) for p in rec.params],
        [value for _, value in hoisted],
        target="triton",
        names=rec.names,
        doc=f"{', '.join(h for h, _ in hoisted)}, from the parameters.",
    )
    body = [
        "channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
        *(f"p_{p} = tl.load(p_{p}_ptr + channel, mask=channel < H, other=0.0)" for p in rec.params),
        *call([f"h_{h}" for h, _ in hoisted], f"{name}_tile", [f"p_{p}" for p in rec.params]),
        *(f"tl.store(h_{h}_ptr + channel, h_{h}, mask=channel < H)" for h, _ in hoisted),
    ]
    arguments = hoist_arguments(rec, hoisted)
    return [tile, kernel(f"{name}_kernel", "One program: BLOCK channels.", arguments, CONSTANTS, body)]


def _traces(rec: Recurrence, facts: Facts) -> Sequence[str]:
    return trace_names(rec) if facts.traces is not None else ()


def hoist_vjp_arguments(rec: Recurrence, facts: Facts) -> Arguments:
    past: Arguments = []
    if facts.traces is not None:
        past = [
            *((f"d_start_{s}_ptr", "[B, H]") for s in rec.state),
            *((f"{e}_ptr", "[B, H]") for e in trace_names(rec)),
            ("resets_ptr", "[B, T] 0 or 1"),
            ("B", ""),
            ("T", ""),
        ]
    return [
        *((f"p_{p}_ptr", "[H]") for p in rec.params),
        *((f"d_h_{h}_ptr", "[R, H]") for h, _ in facts.hoisted),
        *((f"d_p_{p}_ptr", "[H]") for p in rec.params),
        ("R", "parts that the loop's programs left to be summed"),
        *past,
    ]


def hoist_vjp_constants(rec: Recurrence, facts: Facts) -> list[str]:
    past = ["HAS_RESETS", *(f"PAST_{s}" for s in rec.state)] if facts.traces is not None else []
    return [*CONSTANTS, "BLOCK_R", *past]


def emit_hoist_vjp(rec: Recurrence, facts: Facts) -> list[str]:
    """The gradients of the parameters: through the hoisted values, and λ·E where a detached state came with traces."""
    found, names = hoist_adjoints(rec, facts)
    tile = print_function(
        "hoist_vjp_tile",
        [*(leaf("p", p) for p in rec.params), *(leaf("d", h) for h, _ in facts.hoisted)],
        found,
        target="triton",
        names=names,
        doc="Reverse mode of `hoist_tile`.",
    )
    body = [
        "channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]",
        "own = channel < H",
        *(f"p_{p} = tl.load(p_{p}_ptr + channel, mask=own, other=0.0)" for p in rec.params),
        *(f"d_{h} = tl.zeros((1, BLOCK), tl.float32)" for h, _ in facts.hoisted),
        "for first in range(0, R, BLOCK_R):",
        "    part = (first + tl.arange(0, BLOCK_R))[:, None].to(tl.int64)",
    ]
    for h, _ in facts.hoisted:
        load = f"tl.load(d_h_{h}_ptr + part * H + channel, mask=(part < R) & own, other=0.0)"
        body += [f"    d_{h} += tl.sum({load}, axis=0)[None, :]"]
    given = [*(f"p_{p}" for p in rec.params), *(f"d_{h}" for h, _ in facts.hoisted)]
    body += call([f"d_p_{p}" for p in rec.params], "hoist_vjp_tile", given)
    if traces := _traces(rec, facts):
        body += _past(rec, traces)
    body += [f"tl.store(d_p_{p}_ptr + channel, d_p_{p}, mask=own)" for p in rec.params]
    doc = "One program: BLOCK channels, all rows."
    arguments = hoist_vjp_arguments(rec, facts)
    return [tile, kernel("hoist_vjp_kernel", doc, arguments, hoist_vjp_constants(rec, facts), body)]


def _past(rec: Recurrence, traces: Sequence[str]) -> list[str]:
    """λ·E, row by row. A row whose past does not matter has λ = 0, and its traces may hold anything, NaN too."""
    k = len(rec.state)
    loop = [
        "row = (first + tl.arange(0, BLOCK_R))[:, None].to(tl.int64)",
        "here = (row < B) & own",
        "if HAS_RESETS:",
        "    here = here & (tl.load(resets_ptr + row * T, mask=row < B, other=0) == 0)",
    ]
    for i, s in enumerate(rec.state):
        loop += [
            f"if PAST_{s}:",
            f"    past = tl.load(d_start_{s}_ptr + row * H + channel, mask=here, other=0.0)",
            "    heard = here & (past != 0.0)",
        ]
        for j, p in enumerate(rec.params):
            e = traces[j * k + i]
            loop += [
                f"    E = tl.load({e}_ptr + row * H + channel, mask=heard, other=0.0)",
                f"    d_p_{p} += tl.sum(tl.where(heard, past * E, 0.0), axis=0)[None, :]",
            ]
    return [
        f"if {' or '.join(f'PAST_{s}' for s in rec.state)}:",
        "    for first in range(0, B, BLOCK_R):",
        *(f"        {line}" for line in loop),
    ]

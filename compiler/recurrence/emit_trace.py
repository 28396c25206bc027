"""Triton kernels for eligibility traces: E' = J E + D at every step, 0 at a reset; only the last E is wanted.

As in ``emit_chunks``, all chunks of T run at once. The first continues what came in; the others start at 0 and keep the
product of their Jacobians, and `trace_carry` joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from .frame import Arguments, call, kernel, load_x, masked
from .names import Names
from .schedules import CHANNELS

CARRY_CONSTANTS = ("H", "BLOCK", "HAS_RESETS")


def entries(letter: str, k: int) -> list[str]:
    """Names of a k×k matrix by rows."""
    return [f"{letter}_{i}{j}" for i, j in product(range(k), range(k))]


def trace_arguments(n: Names, hoisted: Sequence[str], traces: Sequence[str]) -> Arguments:
    """Pointers and sizes of the trace kernel, in order."""
    return [
        ("x_ptr", f"[B, T, {len(n.inputs)}, H]: {', '.join(n.inputs)}"),
        ("resets_ptr", "[B, T] 0 or 1"),
        *((f"h_{h}_ptr", "[H]") for h in hoisted),
        *((f"start_{s}_ptr", "[B, H]") for s in n.pointwise),
        *((f"kept_{s}_ptr", "[B, T, H]") for s in n.pointwise),
        *((f"{e}_ptr", "[B, H], before") for e in traces),
        *((f"new_{e}_ptr", "[B, C, H], after") for e in traces),
        *((f"{a}_ptr", "[B, C, H]") for a in entries("a", len(n.state))),
        ("cut_ptr", "[B, C, H] 0 or 1"),
        ("B", ""),
        ("T", ""),
        ("CHUNK", "steps of a chunk"),
    ]


def trace_carry_arguments(n: Names, traces: Sequence[str]) -> Arguments:
    return [
        *((f"{e}_ptr", "[B, C, H], of each chunk") for e in traces),
        *((f"{a}_ptr", "[B, C, H]") for a in entries("a", len(n.state))),
        ("cut_ptr", "[B, C, H] 0 or 1"),
        *((f"new_{e}_ptr", "[B, H], after the last") for e in traces),
        ("B", ""),
        ("CHUNKS", ""),
    ]


def emit_trace(n: Names, hoisted: Sequence[str], traces: Sequence[str]) -> str:
    """The traces at the end of every chunk, and the product of its Jacobians."""
    k = len(n.state)
    n = replace(n, hoisted=tuple(hoisted))
    body = CHANNELS.prologue(n)
    body += ["opens = inside & (first == 0)"]
    body += [f"{e} = tl.load({e}_ptr + at_row, mask=opens, other=0.0)" for e in traces]
    body += [f"a_{i}{j} = tl.full((BLOCK,), {float(i == j)}, tl.float32)" for i, j in product(range(k), range(k))]
    body += ["cut = tl.zeros((BLOCK,), tl.int8)"]
    for s in n.pointwise:
        body += [
            f"next_s_{s} = tl.load(kept_{s}_ptr + at_seq - H, mask=inside & (first > 0), other=0.0).to(tl.float32)",
            f"next_s_{s} += tl.load(start_{s}_ptr + at_row, mask=opens, other=0.0)",
        ]
    body += load_x(n, "next", "0", "inside & (0 < count)")
    loop = ["live = inside & (t < count)", "more = inside & (t + 1 < count)"]
    loop += [f"x_{x} = next_{x}.to(tl.float32)" for x in n.inputs]
    loop += load_x(n, "next", "(t + 1)", "more")
    for s in n.state:
        if s not in n.pointwise:
            loop += [f"s_{s} = tl.zeros_like(x_{n.inputs[0]})  # not read"]
            continue
        loop += [
            f"s_{s} = next_s_{s}",
            f"next_s_{s} = tl.load(kept_{s}_ptr + at_seq + t * one * H, mask=live, other=0.0).to(tl.float32)",
        ]
    loop += ["if HAS_RESETS:", "    reset = tl.load(resets_ptr + at_time + t, mask=live, other=0) != 0"]
    loop += masked(n, n.pointwise)[1:]
    loop += [f"    {e} = tl.where(reset, 0.0, {e})" for e in traces]
    loop += ["    cut = cut | reset.to(tl.int8)"]
    loop += call(
        [*entries("m", k), *(f"d_{e}" for e in range(len(traces)))],
        "trace_tile",
        [*(f"x_{x}" for x in n.inputs), *(f"s_{s}" for s in n.state), *(f"h_{h}" for h in hoisted)],
    )
    for i, j in product(range(k), range(k)):
        loop += [f"next_a_{i}{j} = {' + '.join(f'm_{i}{m} * a_{m}{j}' for m in range(k))}"]
    for place in range(len(traces)):
        i, base = place % k, place - place % k
        loop += [f"next_{place} = {' + '.join(f'm_{i}{m} * {traces[base + m]}' for m in range(k))} + d_{place}"]
    loop += [f"a_{i}{j} = tl.where(live, next_a_{i}{j}, a_{i}{j})" for i, j in product(range(k), range(k))]
    loop += [f"{e} = tl.where(live, next_{place}, {e})" for place, e in enumerate(traces)]
    body += ["for t in range(steps):", *(f"    {line}" for line in loop)]
    body += [f"tl.store(new_{e}_ptr + at_start, {e}, mask=inside)" for e in traces]
    body += [f"tl.store({a}_ptr + at_start, {a}, mask=inside)" for a in entries("a", k)]
    body += ["if HAS_RESETS:", "    tl.store(cut_ptr + at_start, cut, mask=inside)"]
    return kernel("trace_kernel", CHANNELS.doc, trace_arguments(n, hoisted, traces), CHANNELS.constants, body)


def emit_trace_carry(n: Names, traces: Sequence[str]) -> str:
    """The traces of the chunks as one."""
    k = len(n.state)
    body = [
        "at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
        "row, channel = at // H, at % H",
        "inside = row < B",
        *(f"{e} = tl.load({e}_ptr + row * CHUNKS * H + channel, mask=inside, other=0.0)" for e in traces),
        "for chunk in range(1, CHUNKS):",
    ]
    loop = ["place = (row * CHUNKS + chunk) * H + channel"]
    loop += [f"{a} = tl.load({a}_ptr + place, mask=inside, other=0.0)" for a in entries("a", k)]
    loop += ["past = inside", "if HAS_RESETS:"]
    loop += ["    past = inside & (tl.load(cut_ptr + place, mask=inside, other=0) == 0)"]
    for place, _ in enumerate(traces):
        i, base = place % k, place - place % k
        loop += [f"from_{place} = {' + '.join(f'a_{i}{m} * {traces[base + m]}' for m in range(k))}"]
    for place, e in enumerate(traces):
        loop += [f"{e} = tl.load({e}_ptr + place, mask=inside, other=0.0) + tl.where(past, from_{place}, 0.0)"]
    body += [f"    {line}" for line in loop]
    body += [f"tl.store(new_{e}_ptr + at, {e}, mask=inside)" for e in traces]
    doc = "One program: BLOCK channels of rows."
    return kernel("trace_carry_kernel", doc, trace_carry_arguments(n, traces), CARRY_CONSTANTS, body)

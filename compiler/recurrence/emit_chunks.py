"""Triton kernels that make T parallel where a recurrence is affine in the state and diagonal.

T is cut into chunks. `summary` composes the steps of every chunk to one map s -> A s + b, all chunks at once; `carry`
walks over the few chunks of a row and writes what state enters each; then the ordinary loop runs on all chunks at once.
A chunk with a reset inside does not read what came before it: `cut` selects, whatever stood there. The backward is the
same three, with transposed matrices and time reversed.
"""

from __future__ import annotations

from itertools import product

from .frame import Arguments, Names, call, kernel, load_x
from .schedules import CHANNELS

CARRY_CONSTANTS = ("H", "BLOCK", "HAS_RESETS", "REVERSED")


def entries(letter: str, k: int) -> list[str]:
    """Names of a k×k matrix by rows."""
    return [f"{letter}_{i}{j}" for i, j in product(range(k), range(k))]


def _maps(n: Names) -> Arguments:
    """Where the composed maps stand."""
    k = len(n.state)
    return [
        *((f"{a}_ptr", "[B, C, H]") for a in entries("a", k)),
        *((f"b_{i}_ptr", "[B, C, H]") for i in range(k)),
        ("cut_ptr", "[B, C, H] 0 or 1"),
    ]


def summary_arguments(n: Names) -> Arguments:
    return [
        ("x_ptr", f"[B, T, {len(n.inputs)}, H]: {', '.join(n.inputs)}"),
        ("resets_ptr", "[B, T] 0 or 1"),
        *((f"h_{h}_ptr", "[H]") for h in n.hoisted),
        *_maps(n),
        ("B", ""),
        ("T", ""),
        ("CHUNK", "steps of a chunk"),
    ]


def back_summary_arguments(n: Names) -> Arguments:
    given = summary_arguments(n)
    at = 2 + len(n.hoisted)
    return [*given[:at], *((f"d_out_{s}_ptr", "[B, T, H]") for s in n.outputs), *given[at:]]


def carry_arguments(n: Names) -> Arguments:
    k = len(n.state)
    return [
        *_maps(n),
        *((f"start_{i}_ptr", "[B, H]") for i in range(k)),
        *((f"enters_{i}_ptr", "[B, C, H]") for i in range(k)),
        ("B", ""),
        ("CHUNKS", ""),
    ]


def emit_summary(n: Names) -> str:
    """Every chunk as one map of the state that enters it."""
    k = len(n.state)
    body = [*CHANNELS.prologue(n), *_identity(k)]
    body += load_x(n, "next", "0", "inside & (0 < count)")
    loop = [f"x_{x} = next_{x}.to(tl.float32)" for x in n.inputs]
    loop += load_x(n, "next", "(t + 1)", "inside & (t + 1 < count)")
    loop += call([*entries("m", k), *(f"u_{i}" for i in range(k))], "affine_tile", _given(n))
    loop += ["live = inside & (t < count)"]
    loop += ["if HAS_RESETS:  # the step reads the initial state, whatever came before"]
    loop += ["    reset = tl.load(resets_ptr + at_time + t, mask=live, other=0) != 0"]
    loop += [f"    b_{i} = tl.where(reset, {n.initial[s]}, b_{i})" for i, s in enumerate(n.state)]
    loop += ["    cut = cut | reset.to(tl.int8)"]
    loop += _then(k, "m", [f"u_{i}" for i in range(k)])
    body += ["for t in range(steps):", *(f"    {line}" for line in loop)]
    body += _store(k)
    doc = "A chunk as one map, s -> A s + b."
    return kernel("summary_kernel", doc, summary_arguments(n), CHANNELS.constants, body)


def emit_back_summary(n: Names, constant: bool) -> str:
    """Every chunk as one map of the adjoint that enters at its end."""
    k = len(n.state)
    body = [*CHANNELS.prologue(n), *_identity(k)]
    if constant:
        # The matrices do not depend on the inputs, which are not read.
        body += [f"x_{x} = tl.zeros((BLOCK,), tl.float32)" for x in n.inputs]
        body += call([*entries("w", k), *(f"u_{i}" for i in range(k))], "affine_tile", _given(n))
        body += [f"m_{i}{j} = w_{j}{i}" for i, j in product(range(k), range(k))]
    loop = ["t = steps - 1 - back", "live = inside & (t < count)"]
    if not constant:
        loop += load_x(n, "x", "t", "live")
        loop += [f"x_{x} = x_{x}.to(tl.float32)" for x in n.inputs]
        loop += call([*entries("w", k), *(f"u_{i}" for i in range(k))], "affine_tile", _given(n))
        loop += [f"m_{i}{j} = w_{j}{i}" for i, j in product(range(k), range(k))]
    for i, s in enumerate(n.state):
        if s in n.outputs:
            loop += [f"b_{i} += tl.load(d_out_{s}_ptr + at_seq + t * one * H, mask=live, other=0.0).to(tl.float32)"]
    loop += _then(k, "m", ["0.0"] * k)
    loop += ["if HAS_RESETS:  # what a reset step read does not reach the step before it"]
    loop += ["    reset = tl.load(resets_ptr + at_time + t, mask=live, other=0) != 0"]
    loop += [f"    b_{i} = tl.where(reset, 0.0, b_{i})" for i in range(k)]
    loop += ["    cut = cut | reset.to(tl.int8)"]
    body += ["for back in range(steps):", *(f"    {line}" for line in loop)]
    body += _store(k)
    doc = "A chunk as one map of adjoints. Time runs backwards."
    return kernel("back_summary_kernel", doc, back_summary_arguments(n), CHANNELS.constants, body)


def emit_carry(n: Names) -> str:
    """What enters every chunk, from what enters the first (backwards: the last)."""
    k = len(n.state)
    body = [
        "at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
        "row, channel = at // H, at % H",
        "inside = row < B",
        *(f"s_{i} = tl.load(start_{i}_ptr + at, mask=inside, other=0.0)" for i in range(k)),
        "for turn in range(CHUNKS):",
    ]
    loop = ["chunk = CHUNKS - 1 - turn if REVERSED else turn", "place = (row * CHUNKS + chunk) * H + channel"]
    loop += [f"tl.store(enters_{i}_ptr + place, s_{i}, mask=inside)" for i in range(k)]
    names = [*entries("a", k), *(f"b_{i}" for i in range(k))]
    loop += [f"{a} = tl.load({a}_ptr + place, mask=inside, other=0.0)" for a in names]
    for i in range(k):
        loop += [f"new_{i} = {' + '.join(f'a_{i}{j} * s_{j}' for j in range(k))} + b_{i}"]
    loop += ["if HAS_RESETS:", "    cut = tl.load(cut_ptr + place, mask=inside, other=0) != 0"]
    loop += [f"    new_{i} = tl.where(cut, b_{i}, new_{i})" for i in range(k)]
    loop += [f"s_{i} = new_{i}" for i in range(k)]
    body += [f"    {line}" for line in loop]
    return kernel("carry_kernel", "One program: BLOCK channels of rows.", carry_arguments(n), CARRY_CONSTANTS, body)


def _given(n: Names) -> list[str]:
    return [*(f"x_{x}" for x in n.inputs), *(f"h_{h}" for h in n.hoisted)]


def _identity(k: int) -> list[str]:
    return [
        *(f"a_{i}{j} = tl.full((BLOCK,), {float(i == j)}, tl.float32)" for i, j in product(range(k), range(k))),
        *(f"b_{i} = tl.zeros((BLOCK,), tl.float32)" for i in range(k)),
        "cut = tl.zeros((BLOCK,), tl.int8)",
    ]


def _then(k: int, step: str, offset: list[str]) -> list[str]:
    """The map so far, followed by one step; nothing where there is no step."""
    lines = [
        f"next_a_{i}{j} = {' + '.join(f'{step}_{i}{m} * a_{m}{j}' for m in range(k))}"
        for i, j in product(range(k), range(k))
    ]
    lines += [f"next_b_{i} = {' + '.join(f'{step}_{i}{m} * b_{m}' for m in range(k))} + {offset[i]}" for i in range(k)]
    lines += [f"a_{i}{j} = tl.where(live, next_a_{i}{j}, a_{i}{j})" for i, j in product(range(k), range(k))]
    return lines + [f"b_{i} = tl.where(live, next_b_{i}, b_{i})" for i in range(k)]


def _store(k: int) -> list[str]:
    names = [*entries("a", k), *(f"b_{i}" for i in range(k))]
    return [
        *(f"tl.store({a}_ptr + at_start, {a}, mask=inside)" for a in names),
        "if HAS_RESETS:",
        "    tl.store(cut_ptr + at_start, cut, mask=inside)",
    ]

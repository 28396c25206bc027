"""Triton kernels that scan over time: for recurrences that are affine in the state and diagonal, and for traces.

One program takes one row and a run of channels, and walks over T in tiles; inside a tile an associative scan composes
the steps' k×k maps. A flag travels with each composed map: "a reset lies inside". Then the later part is selected and
nothing of the earlier one is read, whatever it holds. The backward is the same scan with time reversed and the maps
transposed; it never needs a reversed scan, because its rows are loaded in reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from .emit_loop import Names, backward_arguments, call, forward_arguments, signature


def entries(letter: str, k: int) -> list[str]:
    """Names of a k×k matrix by rows."""
    return [f"{letter}_{i}{j}" for i, j in product(range(k), range(k))]


def constants(*extra: str) -> list[str]:
    return ["H", "BLOCK_T", "BLOCK", "HAS_RESETS", *extra]


def emit_compose(k: int) -> str:
    """`compose`: two runs of steps as one, and `chain`: the product of their matrices in reverse order."""
    lines = ["@triton.jit"]
    given = [
        ["f", *entries("a", k), *(f"b_{i}" for i in range(k))],
        ["g", *entries("c", k), *(f"e_{i}" for i in range(k))],
    ]
    lines += ["def compose(", *(f"    {', '.join(part)}," for part in given), "):"]
    lines += ['    """The steps (a, b), then the steps (c, e); f and g say that a reset lies inside."""']
    results = ["f | g"]
    results += [" + ".join(f"c_{i}{m} * a_{m}{j}" for m in range(k)) for i, j in product(range(k), range(k))]
    results += [
        f"tl.where(g != 0, e_{i}, {' + '.join(f'c_{i}{m} * b_{m}' for m in range(k))} + e_{i})" for i in range(k)
    ]
    lines += ["    return (", *(f"        {r}," for r in results), "    )"]
    return "\n".join(lines)


def emit_chain(k: int) -> str:
    lines = ["@triton.jit", "def chain("]
    lines += [f"    f, {', '.join(entries('a', k))},", f"    g, {', '.join(entries('c', k))},", "):"]
    lines += ['    """The product a c of Jacobians, later steps on the left; f and g say that a reset lies inside."""']
    results = [" + ".join(f"a_{i}{m} * c_{m}{j}" for m in range(k)) for i, j in product(range(k), range(k))]
    lines += ["    return (", "        f | g,", *(f"        {r}," for r in results), "    )"]
    return "\n".join(lines)


def emit_forward(n: Names) -> str:
    k = len(n.state)
    keep = [f"KEEP_{s}" for s in n.kept]
    doc = "One program: one row, BLOCK channels, all of T in tiles of BLOCK_T."
    head = signature("scan_forward_kernel", doc, forward_arguments(n), constants(*keep))
    body = _prologue(n)
    body += [f"s_{s} = tl.load(start_{s}_ptr + at_row, mask=own, other=0.0)" for s in n.state]
    body += ["for first in range(0, T, BLOCK_T):"]
    loop = ["time = first + tl.arange(0, BLOCK_T)[:, None]", "inside = (time < T) & own"]
    loop += _load_x(n, "x", "time", "inside")
    loop += call([*entries("a", k), *(f"b_{i}" for i in range(k))], "affine_tile", _x_h(n, "x"))
    loop += ["reset = tl.zeros_like(time)"]
    loop += ["if HAS_RESETS:", "    reset = tl.load(resets_ptr + row * T + time, mask=time < T, other=0).to(tl.int32)"]
    if any(n.initial.values()):
        for i in range(k):
            fresh = " + ".join(f"a_{i}{j} * {n.initial[s]}" for j, s in enumerate(n.state))
            loop += [f"    b_{i} = tl.where(reset != 0, {fresh} + b_{i}, b_{i})"]
    loop += _neutral(k, "time < T")
    loop += _scan(k, "compose", [f"b_{i}" for i in range(k)])
    loop += _apply(k, [f"s_{s}" for s in n.state], "new")
    loop += [f"s_{s} = new_{i}" for i, s in enumerate(n.state)]
    at = "at_seq + time * one * H"
    loop += [f"tl.store(out_{s}_ptr + {at}, s_{s}, mask=inside)" for s in n.outputs]
    for s in n.kept:
        loop += [f"if KEEP_{s}:", f"    tl.store(kept_{s}_ptr + {at}, s_{s}, mask=inside)"]
    loop += ["final = time == first + BLOCK_T - 1"]
    loop += [f"s_{s} = tl.sum(tl.where(final, s_{s}, 0.0), axis=0)[None, :]" for s in n.state]
    body += [f"    {line}" for line in loop]
    body += [f"tl.store(last_{s}_ptr + at_row, s_{s}, mask=own)" for s in n.state]
    return "\n".join([*head, *(f"    {line}" for line in body)])


def emit_backward(n: Names, constant: bool) -> str:
    k = len(n.state)
    doc = "One program: one row, BLOCK channels, T backwards in tiles of BLOCK_T."
    head = signature("scan_backward_kernel", doc, backward_arguments(n), constants())
    body = _prologue(n)
    body += [f"d_{s} = tl.load(d_last_{s}_ptr + at_row, mask=own, other=0.0)" for s in n.state]
    body += [f"total_{h} = tl.zeros_like(d_{n.state[0]})" for h in n.hoisted]
    body += [f"at_start_{s} = tl.zeros_like(d_{s})" for s in n.state]
    body += ["for first in range(0, T, BLOCK_T):"]
    loop = ["time = T - 1 - first - tl.arange(0, BLOCK_T)[:, None]", "inside = (time >= 0) & own"]
    loop += _load_x(n, "x", "time", "inside")
    # the adjoint of step t comes from step t + 1, through its matrix
    loop += ["after = (time >= 0) & (time + 1 < T)"]
    source = "x"
    if not constant:
        source = "later"
        loop += _load_x(n, "later", "(time + 1)", "after & own")
    loop += call([*entries("m", k), *(f"u_{i}" for i in range(k))], "affine_tile", _x_h(n, source))
    loop += [f"a_{i}{j} = m_{j}{i}" for i, j in product(range(k), range(k))]
    for i, s in enumerate(n.state):
        load = f"tl.load(d_out_{s}_ptr + at_seq + time * one * H, mask=inside, other=0.0).to(tl.float32)"
        loop += [f"b_{i} = {load if s in n.outputs else 'tl.zeros_like(a_00)'}"]
    loop += ["reset = tl.zeros_like(time)", "reset_here = time < -1"]
    loop += ["if HAS_RESETS:"]
    loop += ["    reset = tl.load(resets_ptr + row * T + time + 1, mask=after, other=0).to(tl.int32)"]
    loop += ["    reset_here = tl.load(resets_ptr + row * T + time, mask=time >= 0, other=0) != 0"]
    loop += _neutral(k, "after", offset=False)
    loop += _scan(k, "compose", [f"b_{i}" for i in range(k)])
    loop += _apply(k, [f"d_{s}" for s in n.state], "adjoint")
    loop += _previous(n, "time", "inside")
    loop += masked(n)
    found = [*(f"d_x_{x}" for x in n.inputs), *(f"back_{s}" for s in n.state), *(f"d_h_{h}" for h in n.hoisted)]
    given = [
        *(f"x_{x}" for x in n.inputs),
        *(f"s_{s}" for s in n.state),
        *(f"h_{h}" for h in n.hoisted),
        *(f"adjoint_{i}" for i in range(k)),
    ]
    loop += call(found, "vjp_tile", given)
    g = f"({len(n.inputs)} * H)"
    loop += [
        f"tl.store(d_x_ptr + at_x + time * one * {g} + {i} * H, d_x_{x}, mask=inside)" for i, x in enumerate(n.inputs)
    ]
    loop += [f"total_{h} += tl.sum(tl.where(inside, d_h_{h}, 0.0), axis=0)[None, :]" for h in n.hoisted]
    loop += ["boundary = (time == 0) & (reset_here == 0)"]
    loop += [f"at_start_{s} += tl.sum(tl.where(boundary, back_{s}, 0.0), axis=0)[None, :]" for s in n.state]
    loop += ["final = time == T - first - BLOCK_T"]
    loop += [f"d_{s} = tl.sum(tl.where(final, adjoint_{i}, 0.0), axis=0)[None, :]" for i, s in enumerate(n.state)]
    body += [f"    {line}" for line in loop]
    body += [f"tl.store(d_start_{s}_ptr + at_row, at_start_{s}, mask=own)" for s in n.state]
    body += [f"tl.store(d_h_{h}_ptr + at_row, total_{h}, mask=own)" for h in n.hoisted]
    return "\n".join([*head, *(f"    {line}" for line in body)])


def trace_arguments(n: Names, hoisted: Sequence[str], traces: Sequence[str]) -> list[tuple[str, str]]:
    """Pointers and sizes of the trace kernel, in order."""
    return [
        ("x_ptr", f"[B, T, {len(n.inputs)}, H]: {', '.join(n.inputs)}"),
        ("resets_ptr", "[B, T] 0 or 1"),
        *((f"h_{h}_ptr", "[H]") for h in hoisted),
        *((f"start_{s}_ptr", "[B, H]") for s in n.pointwise),
        *((f"kept_{s}_ptr", "[B, T, H]") for s in n.pointwise),
        *((f"{e}_ptr", "[B, H], before") for e in traces),
        *((f"new_{e}_ptr", "[B, H], after") for e in traces),
        ("B", ""),
        ("T", ""),
    ]


def emit_trace(n: Names, hoisted: Sequence[str], traces: Sequence[str]) -> str:
    """E = sum over t of W_t D_t + W_{-1} E_in, where W_t is the product of the Jacobians after t."""
    k, count = len(n.state), len(traces)
    doc = "One program: one row, BLOCK channels. Time runs backwards, one step past the start."
    head = signature("trace_kernel", doc, trace_arguments(n, hoisted, traces), constants())
    body = _prologue(n, hoisted)
    body += ["zero = tl.zeros((1, BLOCK), tl.float32)", "cut = tl.zeros((1, BLOCK), tl.int32)"]
    body += [f"w_{i}{j} = zero + {float(i == j)}" for i, j in product(range(k), range(k))]
    body += [f"total_{e} = zero" for e in traces]
    body += ["for first in range(0, T + 1, BLOCK_T):"]
    loop = ["time = T - 1 - first - tl.arange(0, BLOCK_T)[:, None]", "inside = (time >= 0) & own"]
    loop += ["after = (time >= -1) & (time + 1 < T)", "reset = tl.zeros_like(time)"]
    loop += ["if HAS_RESETS:"]
    loop += ["    reset = tl.load(resets_ptr + row * T + time + 1, mask=after, other=0).to(tl.int32)"]
    # the Jacobian of step t + 1, read from the state after step t
    loop += _load_x(n, "x", "(time + 1)", "after & own")
    loop += ["after_time, after_own = time + 1, after & own"]
    loop += _previous(n, "after_time", "after_own")
    loop += call(
        [*entries("a", k), *(f"u_{e}" for e in range(count))],
        "trace_tile",
        [*(f"x_{x}" for x in n.inputs), *(f"s_{s}" for s in n.state), *(f"h_{h}" for h in hoisted)],
    )
    loop += _neutral(k, "after", offset=False)
    loop += ["flag = reset + tl.zeros_like(a_00).to(tl.int32)"]
    left = ", ".join(["flag", *entries("a", k)])
    loop += [f"{left} = tl.associative_scan(({left}), 0, chain)"]
    for i, j in product(range(k), range(k)):
        loop += [f"p_{i}{j} = {' + '.join(f'w_{i}{m} * a_{m}{j}' for m in range(k))}"]
    loop += ["flag = flag | cut"]
    loop += _load_x(n, "x", "time", "inside")
    loop += _previous(n, "time", "inside")
    loop += ["reset_here = time < -1", "if HAS_RESETS:"]
    loop += ["    reset_here = tl.load(resets_ptr + row * T + time, mask=time >= 0, other=0) != 0"]
    loop += masked(n)
    loop += call(
        [*entries("a", k), *(f"d_{e}" for e in range(count))],
        "trace_tile",
        [*(f"x_{x}" for x in n.inputs), *(f"s_{s}" for s in n.state), *(f"h_{h}" for h in hoisted)],
    )
    loop += ["live = inside & (flag == 0)"]
    for place, e in enumerate(traces):
        i, base = place % k, place - place % k
        drive = " + ".join(f"p_{i}{m} * d_{base + m}" for m in range(k))
        loop += [f"total_{e} += tl.sum(tl.where(live, {drive}, 0.0), axis=0)[None, :]"]
    loop += ["final = time == T - first - BLOCK_T"]
    loop += [
        f"w_{i}{j} = tl.sum(tl.where(final, p_{i}{j}, 0.0), axis=0)[None, :]" for i, j in product(range(k), range(k))
    ]
    loop += ["cut = tl.sum(tl.where(final, flag, 0), axis=0)[None, :]"]
    body += [f"    {line}" for line in loop]
    body += [f"{e} = tl.load({e}_ptr + at_row, mask=own, other=0.0)" for e in traces]
    for place, e in enumerate(traces):
        i, base = place % k, place - place % k
        past = " + ".join(f"w_{i}{m} * {traces[base + m]}" for m in range(k))
        body += [f"past = tl.where(cut == 0, {past}, 0.0)"]
        body += [f"tl.store(new_{e}_ptr + at_row, total_{e} + past, mask=own)"]
    return "\n".join([*head, *(f"    {line}" for line in body)])


def masked(n: Names) -> list[str]:
    """A reset selects the initial state for what this step read."""
    lines = [f"    s_{s} = tl.where(reset_here, {n.initial[s]}, s_{s})" for s in n.pointwise]
    return ["if HAS_RESETS:", *lines] if lines else []


def _prologue(n: Names, hoisted: Sequence[str] | None = None) -> list[str]:
    return [
        "runs = tl.cdiv(H, BLOCK)",
        "row = (tl.program_id(0) // runs).to(tl.int64)",
        "channel = (tl.program_id(0) % runs) * BLOCK + tl.arange(0, BLOCK)[None, :]",
        "own = channel < H",
        "one = tl.full((), 1, tl.int64)  # steps times sizes may pass 2**31",
        "at_row = row * H + channel  # of [B, H]",
        "at_seq = row * T * H + channel  # of [B, T, H] at t = 0",
        f"at_x = row * T * ({len(n.inputs)} * H) + channel  # of [B, T, {len(n.inputs)}, H] at t = 0",
        *(
            f"h_{h} = tl.load(h_{h}_ptr + channel, mask=own, other=0.0)"
            for h in (n.hoisted if hoisted is None else hoisted)
        ),
    ]


def _x_h(n: Names, prefix: str) -> list[str]:
    return [*(f"{prefix}_{x}" for x in n.inputs), *(f"h_{h}" for h in n.hoisted)]


def _load_x(n: Names, prefix: str, time: str, mask: str) -> list[str]:
    at = f"at_x + {time} * one * ({len(n.inputs)} * H)"
    return [
        f"{prefix}_{x} = tl.load(x_ptr + {at} + {i} * H, mask={mask}, other=0.0).to(tl.float32)"
        for i, x in enumerate(n.inputs)
    ]


def _previous(n: Names, time: str, mask: str) -> list[str]:
    """What step `time` read, before its reset."""
    lines = []
    for s in n.state:
        if s not in n.pointwise:
            lines += [f"s_{s} = tl.zeros_like(x_{n.inputs[0]})  # not read"]
            continue
        lines += [
            f"s_{s} = tl.load(kept_{s}_ptr + at_seq + ({time} - 1) * one * H, mask={mask} & ({time} > 0), other=0.0)",
            f"s_{s} += tl.load(start_{s}_ptr + at_row + time * 0, mask={mask} & ({time} == 0), other=0.0)",
        ]
    return lines


def _neutral(k: int, real: str, offset: bool = True) -> list[str]:
    """Where there is no step, the map that changes nothing."""
    lines = [f"a_{i}{j} = tl.where({real}, a_{i}{j}, {float(i == j)})" for i, j in product(range(k), range(k))]
    if offset:
        lines += [f"b_{i} = tl.where({real}, b_{i}, 0.0)" for i in range(k)]
    return lines


def _scan(k: int, function: str, offsets: list[str]) -> list[str]:
    names = ", ".join(["flag", *entries("a", k), *offsets])
    return [
        "flag = reset + tl.zeros_like(a_00).to(tl.int32)",
        f"{names} = tl.associative_scan(({names}), 0, {function})",
    ]


def _apply(k: int, carried: list[str], result: str) -> list[str]:
    """The composed maps on the state that came into the tile."""
    return [
        f"{result}_{i} = tl.where(flag != 0, b_{i}, "
        + " + ".join(f"a_{i}{j} * {c}" for j, c in enumerate(carried))
        + f" + b_{i})"
        for i in range(k)
    ]

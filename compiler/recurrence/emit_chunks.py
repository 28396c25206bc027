"""Triton kernels that make T parallel where a recurrence is affine in the state and diagonal.

T is cut into chunks. `summary` composes the steps of every chunk to one map s -> A s + b, all chunks at once; `carry`
walks over the few chunks of a row and writes what state enters each; then the ordinary loop runs on all chunks at once.
A chunk with a reset inside does not read what came before it: `cut` selects, whatever stood there. The backward is the
same three, with time reversed and A transposed where it is applied.

Of A only the numbers are composed that can be other than 0 and are not equal to one another (``pattern.py``).
"""

from __future__ import annotations

from collections.abc import Callable

from . import emit_read
from .frame import Arguments, call, input_arguments, kernel, load_x, shape
from .names import Names
from .pattern import Pattern
from .schedules import carried, chunked

Entry = tuple[int, int]
AHEAD, AHEAD_OF_HEADS = 8, 4  # chunks; a thread holds more numbers of each where channels belong to heads


def entry(letter: str, at: Entry) -> str:
    """The name of an entry of a matrix."""
    return f"{letter}_{at[0]}{at[1]}" if max(at) < 10 else f"{letter}_{at[0]}_{at[1]}"


def numbers(n: Names) -> list[str]:
    """The distinct numbers of a composed matrix."""
    return [entry("a", at) for at in _pattern(n).first]


def _pattern(n: Names) -> Pattern:
    assert n.pattern is not None
    return n.pattern


def _offsets(n: Names) -> list[str]:
    return [f"b_{i}" for i in range(len(n.state))]


def _owner(n: Names, number: str) -> str:
    """The state variable that a number of a map belongs to: it has as many of them."""
    place = numbers(n).index(number) if number in numbers(n) else None
    return n.state[int(number[2:]) if place is None else _pattern(n).first[place][0]]


def _maps(n: Names) -> Arguments:
    """Where the composed maps stand."""
    return [
        *((f"{a}_ptr", shape(n, _owner(n, a), "B, C")) for a in (*numbers(n), *_offsets(n))),
        ("cut_ptr", f"[B, C, {'N' if n.headed else 'H'}] 0 or 1"),
    ]


def summary_arguments(n: Names) -> Arguments:
    return [
        *input_arguments(n),
        ("resets_ptr", "[B, T] 0 or 1"),
        *((f"h_{h}_ptr", "[H]") for h in n.hoisted),
        *_maps(n),
        ("B", ""),
        ("T", ""),
        ("CHUNK", "steps of a chunk"),
    ]


def back_summary_arguments(n: Names) -> Arguments:
    given = summary_arguments(n)
    at = len(input_arguments(n)) + 1 + len(n.hoisted)
    kept = [(f"kept_{s}_ptr", shape(n, s, "B, T")) for s in (*n.seen, *n.totals)]
    return [*given[:at], *kept, *((f"d_out_{s}_ptr", shape(n, s, "B, T")) for s in n.outputs), *given[at:]]


def carry_arguments(n: Names) -> Arguments:
    return [
        *_maps(n),
        *((f"start_{i}_ptr", shape(n, s, "B")) for i, s in enumerate(n.state)),
        *((f"enters_{i}_ptr", shape(n, s, "B, C")) for i, s in enumerate(n.state)),
        ("B", ""),
        ("CHUNKS", ""),
    ]


def emit_summary(n: Names) -> str:
    """Every chunk as one map of the state that enters it."""
    how = chunked(n)
    body = [*how.prologue(n), *_identity(n)]
    body += load_x(n, "next", "0", "inside & (0 < count)")
    loop = [f"x_{x} = next_{x}.to(tl.float32)" for x in n.inputs]
    loop += load_x(n, "next", "(t + 1)", "inside & (t + 1 < count)")
    loop += call([*_step(n), *(f"u_{i}" for i in range(len(n.state)))], "affine_tile", _given(n))
    loop += ["live = inside & (t < count)"]
    loop += ["if HAS_RESETS:  # the step reads the initial state, whatever came before"]
    loop += ["    reset = tl.load(resets_ptr + at_time + t, mask=live, other=0) != 0"]
    loop += [f"    b_{i} = tl.where(reset, {n.initial[s]}, b_{i})" for i, s in enumerate(n.state)]
    loop += ["    cut = cut | reset.to(tl.int8)"]
    offsets = [f"{_product(n, i, _reads(n), 'm', 'b')} + u_{i}".removeprefix(" + ") for i in range(len(n.state))]
    loop += _then(n, "m", "a", offsets)
    body += [f"for t in {how.over(n)}:", *(f"    {line}" for line in loop)]
    body += _store(n)
    doc = f"{how.doc} A chunk as one map, s -> A s + b."
    return kernel("summary_kernel", doc, summary_arguments(n), how.constants, body)


def emit_back_summary(n: Names, constant: bool) -> str:
    """Every chunk as one map of the adjoint that enters at its end: with A as in `summary`, applied transposed."""
    how, k = chunked(n), len(n.state)
    affine = call([*_step(n), *(f"u_{i}" for i in range(k))], "affine_tile", _given(n))
    body = [*how.prologue(n), *_identity(n)]
    if constant:
        # The matrices do not depend on the inputs, which are not read.
        body += [f"x_{x} = tl.zeros((BLOCK,), tl.float32)" for x in n.inputs]
        body += affine
    loop = ["t = steps - 1 - back", "live = inside & (t < count)"]
    if not constant or n.readouts:
        loop += load_x(n, "x", "t", "live")
        loop += [f"x_{x} = x_{x}.to(tl.float32)" for x in n.inputs]
        loop += emit_read.cleaned(n, [f"x_{x}" for x in n.inputs])
    loop += [] if constant else affine
    loop += [f"d_{s} = b_{i}" for i, s in enumerate(n.state)]
    for y in n.outputs:
        given = f"tl.load(d_out_{y}_ptr + {n.at('at_seq', y, 't')}, mask={n.within(y, 'live')}, other=0.0)"
        target = f"d_y_{y} =" if y in n.readouts else f"d_{y} +="
        loop += [f"{target} {given}.to(tl.float32)"]
    if n.readouts:
        loop += [
            f"{'z' if s in n.totals else 's'}_{s} = "
            f"tl.load(kept_{s}_ptr + {n.at('at_seq', s, 't')}, mask={n.within(s, 'live')}, other=0.0)"
            for s in (*n.seen, *n.totals)
        ]
        loop += emit_read.cleaned(n, [*(f"s_{s}" for s in n.seen), *(f"z_{t}" for t in n.totals)])
        new = {s: f"s_{s}" if s in n.seen else f"d_{s}" for s in n.state}  # what is not seen may be anything
        loop += emit_read.backward_lines(n, new)
        loop += [f"d_{s} = tl.where({n.within(s, 'live')}, d_{s}, 0.0)" for s in n.state]
    loop += [f"b_{i} = d_{s}" for i, s in enumerate(n.state)]
    offsets = [_product(n, j, _reads(n), "m", "b", transposed=True) or "0.0" for j in range(k)]
    loop += _then(n, "a", "m", offsets)
    loop += ["if HAS_RESETS:  # what a reset step read does not reach the step before it"]
    loop += ["    reset = tl.load(resets_ptr + at_time + t, mask=live, other=0) != 0"]
    loop += [f"    b_{i} = tl.where(reset, 0.0, b_{i})" for i in range(k)]
    loop += ["    cut = cut | reset.to(tl.int8)"]
    body += [f"for back in {how.over(n)}:", *(f"    {line}" for line in loop)]
    body += _store(n)
    doc = f"{how.doc} A chunk as one map of adjoints. Time runs backwards."
    return kernel("back_summary_kernel", doc, back_summary_arguments(n), how.constants, body)


def carry_constants(n: Names) -> list[str]:
    return [*carried(n).constants, "REVERSED"]


def emit_carry(n: Names) -> str:
    """What enters every chunk, from what enters the first (backwards: the last).

    Maps of several chunks are on their way at once: the walk is short, and would wait for memory at every chunk."""
    several = AHEAD_OF_HEADS if n.headed else AHEAD
    how, state = carried(n), list(enumerate(n.state))
    names = [*numbers(n), *_offsets(n)]
    body = [*how.prologue(n)]
    body += [
        f"s_{i} = tl.load(start_{i}_ptr + {n.at('at_row', s)}, mask={n.within(s, 'inside')}, other=0.0)"
        for i, s in state
    ]
    every = list(_pattern(n).place)
    plain = [f"new_{i} = {_product(n, i, every, 'a', 's')} + b_{i}" for i, _ in state]
    turned = [f"new_{j} = {_product(n, j, every, 'a', 's', transposed=True)} + b_{j}" for j, _ in state]
    loop: list[str] = []
    for ahead in range(several):
        loop += _chunk_at(ahead, how.places)
        for a in names:
            s = _owner(n, a)
            loop += [f"{a}_{ahead} = tl.load({a}_ptr + {n.at('place', s)}, mask={n.within(s, 'more')}, other=0.0)"]
        loop += ["if HAS_RESETS:", f"    cut_{ahead} = tl.load(cut_ptr + {how.cut}, mask=more, other=0) != 0"]
    for ahead in range(several):
        loop += _chunk_at(ahead, how.places)
        loop += [f"tl.store(enters_{i}_ptr + {n.at('place', s)}, s_{i}, mask={n.within(s, 'more')})" for i, s in state]
        loop += [f"{a} = {a}_{ahead}" for a in names]
        if plain == turned:
            loop += plain
        else:
            loop += ["if REVERSED:", *(f"    {line}" for line in turned), "else:", *(f"    {line}" for line in plain)]
        loop += ["if HAS_RESETS:", *(f"    new_{i} = tl.where(cut_{ahead}, b_{i}, new_{i})" for i, _ in state)]
        loop += [f"s_{i} = new_{i}" for i, _ in state]
    body += [f"for turn in range(0, CHUNKS, {several}):", *(f"    {line}" for line in loop)]
    return kernel("carry_kernel", how.doc, carry_arguments(n), carry_constants(n), body)


def _chunk_at(ahead: int, places: tuple[str, ...]) -> list[str]:
    """Where the chunk `ahead` of this turn stands, if there is one."""
    at = f"turn + {ahead}" if ahead else "turn"
    lines = [f"chunk = CHUNKS - 1 - ({at}) if REVERSED else {at}", *places]
    return [*lines, f"more = inside & (row * 0 + ({at}) < CHUNKS)"]


def _given(n: Names) -> list[str]:
    return [*(f"x_{x}" for x in n.inputs), *(f"h_{h}" for h in n.hoisted)]


def _step(n: Names) -> list[str]:
    """The names of the entries of one step's A."""
    return [entry("m", at) for at in _pattern(n).step]


def _reads(n: Names) -> list[Entry]:
    return list(_pattern(n).step)


def _number(n: Names, letter: str, at: Entry) -> str:
    """What an entry is called: of a step, m_ij; of a composed map, the number that it is computed as."""
    found = _pattern(n)
    return entry("m", at) if letter == "m" else entry("a", found.first[found.place[at]])


def _product(n: Names, row: int, entries: list[Entry], matrix: str, vector: str, *, transposed: bool = False) -> str:
    """One row of a matrix, or of its transposed, times a vector."""
    here = [(i, j) for i, j in entries if (j if transposed else i) == row]
    return " + ".join(f"{_number(n, matrix, at)} * {vector}_{at[0] if transposed else at[1]}" for at in here)


def _shaped(n: Names, s: str) -> str:
    return {"d": "(1, BLOCK_D)", "ed": "(BLOCK_E, BLOCK_D)"}[n.axes[s]] if n.headed else "(BLOCK,)"


def _identity(n: Names) -> list[str]:
    names = zip(numbers(n), _pattern(n).first, strict=True)
    return [
        *(f"{a} = tl.full({_shaped(n, n.state[i])}, {float(i == j)}, tl.float32)" for a, (i, j) in names),
        *(f"b_{i} = tl.zeros({_shaped(n, s)}, tl.float32)" for i, s in enumerate(n.state)),
        f"cut = tl.zeros({'(1, 1)' if n.headed else '(BLOCK,)'}, tl.int8)",
    ]


def _then(n: Names, left: str, right: str, offsets: list[str]) -> list[str]:
    """The map so far with one step put to its left, or in a backward to its right; nothing where there is no step."""
    found, k = _pattern(n), len(n.state)
    step, every = set(found.step), set(found.place)
    has: dict[str, Callable[[Entry], bool]] = {"m": step.__contains__, "a": every.__contains__}
    lines = []
    for i, j in found.first:
        middle = [m for m in range(k) if has[left]((i, m)) and has[right]((m, j))]
        terms = [f"{_number(n, left, (i, m))} * {_number(n, right, (m, j))}" for m in middle]
        lines += [f"next_{entry('a', (i, j))} = {' + '.join(terms) or '0.0'}"]
    lines += [f"next_b_{i} = {text}" for i, text in enumerate(offsets)]
    for name in (*numbers(n), *_offsets(n)):
        lines += [f"{name} = tl.where({n.within(_owner(n, name), 'live')}, next_{name}, {name})"]
    return lines


def _store(n: Names) -> list[str]:
    lines = []
    for name in (*numbers(n), *_offsets(n)):
        s = _owner(n, name)
        lines += [f"tl.store({name}_ptr + {n.at('at_start', s)}, {name}, mask={n.within(s, 'inside')})"]
    return [
        *lines,
        "if HAS_RESETS:",
        f"    tl.store(cut_ptr + {'at_start_head' if n.headed else 'at_start'}, cut, mask=inside)",
    ]

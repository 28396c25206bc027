"""What the compiler made of a recurrence, in words: equations, what was proved, schedule and why, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .analysis import Facts, analyse, obstacle
from .bounds import UNIT, intervals, state_bounds
from .cost import H100, Cost, bound, cost
from .expr import Expr, leaf, leaves, make, substitute
from .frontend import Recurrence
from .pattern import memory
from .pretty import pretty, written_out
from .traces import trace_names

CROWDED = 64 * 1024  # bytes of a head's matrices from which they are spread; as kernels/recurrence/tiles.py has it


def describe(
    rec: Recurrence,
    *,
    width: int = 256,
    head_width: int | None = None,
    features: int = 1,
    rows: int = 16,
    steps: int = 256,
    itemsize: int = 4,
    traces: bool = True,
    used: Sequence[str] = (),
    measured: Sequence[str] = (),
) -> str:
    """A page of text. Costs are for `width` channels in heads of `head_width` (one head, if none is given) with so many
    `features`, numbers of `itemsize` bytes, and a call of `rows` x `steps`. `used` says where it stands in a pattern,
    `measured` what was found by compiling or running it."""
    facts = analyse(rec)
    inner = (head_width or width) if rec.recurrent or rec.headed else None
    found = cost(rec, width=width, head_width=inner, features=features, itemsize=itemsize)
    of = f", heads of {inner}{f' with {features} features' if rec.headed else ''}" if inner else ""
    sections = {
        "used by": used,
        "equations": [*rec.source.splitlines()] or _equations(rec),
        "proved": _proved(rec, facts),
        "schedule": _schedule(rec, facts, inner, itemsize),
        f"cost per token, {width} channels{of}, {8 * itemsize} bits": _cost(found),
        f"predicted, {H100.name}, {rows} rows x {steps} steps": _predicted(found, facts, rows * steps, traces),
        "measured": measured,
    }
    lines = [f"recurrence {rec.name}"]
    for title, body in sections.items():
        if body:
            lines += ["", title, *(f"  {line}".rstrip() for line in body)]
    return "\n".join([*lines, ""])


def _equations(rec: Recurrence) -> list[str]:
    """The new state from the expressions, where the text of the function is not at hand."""
    return [f"{n}' = {written_out(e, rec.names)}" for n, e in zip(rec.state, rec.update, strict=True)]


def _proved(rec: Recurrence, facts: Facts) -> list[str]:
    lines = [*_affinity(rec, facts)]
    lines += _composed(facts)
    if facts.diagonal:
        lines += ["diagonal: every channel runs by itself"]
    else:
        lines += [f"not diagonal: R mixes the {rec.recurrent} of a head, in {', '.join(rec.gates)}"]
    lines += _bounded(rec, facts)
    if facts.hoisted:
        lines += ["parameter-only, computed before the loop: " + ", ".join(n for n, _ in facts.hoisted)]
    shared = [g for g, same in zip(rec.gates, facts.shared, strict=True) if same]
    if shared:
        lines += [f"r only ever added to x, so d r = d x: {', '.join(shared)}"]
    unread = [n for n, read in zip(rec.state, facts.pointwise, strict=True) if not read and n != rec.recurrent]
    if unread:
        lines += [f"never read again, so not kept: {', '.join(unread)}"]
    lines += _read_out(rec, facts)
    if facts.traces is not None:
        lines += [f"eligibility traces E' = J E + D: {', '.join(trace_names(rec))}"]
        if all(leaf("s", s) not in leaves(facts.traces.jacobian) for s in rec.state):
            lines += ["  J is free of the state"]
    return lines


def _affinity(rec: Recurrence, facts: Facts) -> list[str]:
    state = ", ".join(rec.state)
    if not facts.affine:
        return [f"not affine in ({state}): {obstacle(rec)}"]
    if facts.transition is None or facts.offset is None:
        return [f"affine in ({state})"]
    names = _names(rec, facts)
    offsets = [pretty(e, names) for e in facts.offset]
    always = "the same at every step" if facts.constant_transition else "follows the inputs"
    if len(rec.state) == 1:
        a = pretty(facts.transition[0][0], names)
        return [f"affine in ({state}): {state}' = a {state} + b", f"  a = {a}, {always}", f"  b = {offsets[0]}"]
    if facts.pattern is not None and facts.pattern.apart:
        diagonal = [pretty(facts.transition[i][i], names) for i in range(len(rec.state))]
        rows = zip(rec.state, diagonal, offsets, strict=True)
        return [
            f"affine in ({state}), none reads another: s' = a s + b, a {always}",
            *(f"  {s}: a = {a}, b = {b}" for s, a, b in rows),
        ]
    matrix = "; ".join(", ".join(pretty(e, names) for e in row) for row in facts.transition)
    return [
        f"affine in ({state}): s' = A s + b",
        f"  A = [{matrix}], {always}",
        f"  b = [{', '.join(offsets)}]",
    ]


def _composed(facts: Facts) -> list[str]:
    """What is composed where steps are composed, and how far back a state remembers."""
    if facts.transition is None or facts.pattern is None:
        return []
    k, numbers = len(facts.transition), len(facts.pattern.first)
    lines = []
    if numbers < k * k:
        lines += [f"steps compose to {numbers} numbers of A, not {k * k}: the others are 0 or equal to one of these"]
    if (steps := memory(facts.transition)) is not None:
        lines += [f"finite memory: A^{steps} = 0, so a state holds the last {steps} inputs and nothing from before"]
    return lines


def _read_out(rec: Recurrence, facts: Facts) -> list[str]:
    read, lines = facts.readout, []
    if rec.headed:
        kinds = {"e": "one number a feature of a head", "": "one number a head, data without a gradient"}
        for axes, what in kinds.items():
            if names := [x for x, a in zip(rec.inputs, rec.input_axes, strict=True) if a == axes]:
                lines += [f"{', '.join(names)}: {what}"]
    if read is not None:
        sums = f", with {len(read.totals)} sums over a head" if read.totals else ""
        lines += [f"read out of the new state and not carried: {', '.join(read.names)}{sums}"]
    return lines


def _names(rec: Recurrence, facts: Facts) -> Mapping[Expr, str]:
    """What expressions over hoisted leaves are called: by the author, or by the parameter that they are."""
    hoisted = {leaf("h", n): pretty(e, {}) if e.kind == "p" else n for n, e in facts.hoisted}
    return {**facts.names, **hoisted}


def _bounded(rec: Recurrence, facts: Facts) -> list[str]:
    lines = []
    if facts.transition is not None and (shrinks := _contraction(facts)):
        lines += [f"stable: {shrinks}"]
    for name, interval in state_bounds(rec).items():
        lines += [f"bounded: {name} stays in {interval}, whatever comes in"]
    return lines or ["bounded: not proved"]


def _contraction(facts: Facts) -> str:
    """Why no step makes a difference of states larger; empty where that is not proved."""
    assert facts.transition is not None
    values = {leaf("h", n): e for n, e in facts.hoisted}
    k = len(facts.transition)
    flat = substitute([e for row in facts.transition for e in row], values)
    found = intervals(flat)
    if k == 1:
        return f"a is in {found[flat[0]]}" if found[flat[0]].magnitude <= 1.0 else ""
    if k == 2 and flat[0] is flat[3] and flat[1] is make("neg", flat[2]):
        for r, turn in (flat[0].args, flat[0].args[::-1]) if flat[0].op == "mul" else ():
            same = turn.op == "cos" and flat[2] in (make("mul", r, make("sin", *turn.args)),)
            if same and found[r].within(UNIT):
                return f"A turns the plane and shrinks it: |A s| = r |s| with r in {found[r]}"
    rows = [sum(found[e].magnitude for e in flat[i * k : (i + 1) * k]) for i in range(k)]
    return f"the rows of |A| sum to {max(rows):g} at most" if max(rows) <= 1.0 else ""


def _schedule(rec: Recurrence, facts: Facts, inner: int | None, itemsize: int) -> list[str]:
    if facts.scan:
        program = ["        a program is one head of one row and chunk: what its channels share is summed in it"]
        return [
            "torch   equations for all T at once; between them, on a CPU a loop of multiply-adds in place, on a GPU a",
            "        scan by doubling in log2(T) passes; backward the same, transposed and reversed",
            "triton  chunks of T at once: each is composed to one map, the maps are carried over the chunks, and the",
            "        steps of every chunk follow from its start",
            *(program if rec.headed else []),
            "why     affine and diagonal: steps compose, so T runs in parallel",
        ]
    if inner is None:
        return [
            "torch   loop over T",
            "triton  one launch: a program is a run of channels and loops over T, its inputs loaded one step ahead",
            "why     not affine, so steps do not compose; diagonal, so programs need not wait for each other",
        ]
    lines = ["torch   loop over T; R y of all steps as one product before the backward, dR as one after it"]
    size = f"R of a head is {_held(rec, inner, itemsize) // 1024} KiB in {8 * itemsize} bits"
    if stays_on_chip(rec, inner, itemsize):
        lines += ["triton  one launch: a program is one head and 16 rows, R stays on chip for the whole loop"]
        size += f", one program takes less than {CROWDED // 1024}"
    else:
        lines += ["triton  one launch: a head's units are spread over programs, which meet after every step"]
        size += f", one program takes less than {CROWDED // 1024}"
    return [*lines, "why     channels of a head mix at every step, so the loop over T stays", f"        {size}"]


def stays_on_chip(rec: Recurrence, head_width: int, itemsize: int) -> bool:
    """Whether one program holds the matrices of a head."""
    return _held(rec, head_width, itemsize) < CROWDED


def _held(rec: Recurrence, head_width: int, itemsize: int) -> int:
    """Bytes of a head's matrices, at the width that tensor cores take."""
    padded = max(16, 1 << (head_width - 1).bit_length())
    return len(rec.gates) * padded * padded * itemsize


def _cost(found: Cost) -> list[str]:
    lines = [
        f"forward   {found.flops_forward:>12,} flops  {found.bytes_forward:>10,} bytes",
        f"backward  {found.flops_backward:>12,} flops  {found.bytes_backward:>10,} bytes",
        f"kept      {found.bytes_kept:>12,} bytes",
        f"state     {found.bytes_state:>12,} bytes a row, traces {found.bytes_traces:,}",
    ]
    return [*lines, f"R         {found.bytes_matrices:>12,} bytes"] if found.bytes_matrices else lines


def _predicted(found: Cost, facts: Facts, tokens: int, traces: bool) -> list[str]:
    lines = []
    for name, backward in (("forward", False), ("backward", True)):
        least = bound(found, tokens=tokens, backward=backward, traces=traces)
        lines.append(f"{name:<9} {least.seconds * 1e6:>10.1f} us at least, by its {least.limit}")
    if not facts.scan:
        lines.append("          and the loop: every step waits for the one before, which no bound of this kind counts")
    return lines

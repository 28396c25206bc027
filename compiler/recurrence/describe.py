"""What the compiler made of a recurrence, in words: equations, what was proved, schedule and why, cost."""

from __future__ import annotations

from .analysis import Facts, analyse
from .cost import cost
from .expr import leaf, leaves
from .frontend import Recurrence
from .printer import Block
from .traces import trace_names


def describe(rec: Recurrence, *, width: int = 256, head_width: int | None = None) -> str:
    """A page of text; costs are for `width` channels in heads of `head_width`."""
    facts = analyse(rec)
    state = rec.recurrent
    lines = [f"recurrence {rec.name}", "", "equations"]
    lines += [f"  {line}" for line in rec.source.splitlines()]
    lines += ["", "proved", *(f"  {line}" for line in _proved(rec, facts))]
    lines += ["", "schedule", *(f"  {line}" for line in _schedule(rec, facts))]
    numbers = cost(rec, width=width, head_width=head_width)
    heads = f", heads of {head_width}" if head_width and state else ""
    lines += ["", f"cost per token, {width} channels{heads}, float32"]
    lines += [f"  forward   {numbers.flops_forward:>12,} flops  {numbers.bytes_forward:>10,} bytes"]
    lines += [f"  backward  {numbers.flops_backward:>12,} flops  {numbers.bytes_backward:>10,} bytes"]
    lines += [f"  kept      {numbers.bytes_kept:>12,} bytes"]
    lines += [f"  state     {numbers.bytes_state:>12,} bytes a row, traces {numbers.bytes_traces:,}"]
    return "\n".join([*lines, ""])


def _proved(rec: Recurrence, facts: Facts) -> list[str]:
    lines = []
    if facts.transition is not None and facts.offset is not None:
        lines += ["affine in the state and diagonal: s' = A s + b per channel"]
        block = Block("torch", {}, set())
        flat = [a for row in facts.transition for a in row]
        texts = block.add([*flat, *facts.offset])
        k = len(rec.state)
        rows = [", ".join(texts[i * k : (i + 1) * k]) for i in range(k)]
        lines += [f"  {line}" for line in block.text]
        lines += [f"  A = [{'; '.join(rows)}]", f"  b = [{', '.join(texts[k * k :])}]"]
        lines += ["  A is the same at every step" if facts.constant_transition else "  A depends on the inputs"]
    elif facts.diagonal:
        lines += ["diagonal: every channel runs by itself; not affine in the state"]
    else:
        lines += [f"not diagonal: R {rec.recurrent} mixes the channels of a head"]
    if facts.hoisted:
        lines += ["parameter-only, computed before the loop: " + ", ".join(n for n, _ in facts.hoisted)]
    shared = [g for g, same in zip(rec.gates, facts.shared, strict=True) if same]
    if shared:
        lines += [f"r only ever added to x, so d r = d x: {', '.join(shared)}"]
    unread = [n for n, read in zip(rec.state, facts.pointwise, strict=True) if not read and n != rec.recurrent]
    if unread:
        lines += [f"never read again, so not kept: {', '.join(unread)}"]
    if facts.traces is not None:
        lines += [f"eligibility traces E' = J E + D: {', '.join(trace_names(rec))}"]
        if all(leaf("s", s) not in leaves(facts.traces.jacobian) for s in rec.state):
            lines += ["  J is free of the state"]
    return lines


def _schedule(rec: Recurrence, facts: Facts) -> list[str]:
    if facts.scan:
        return [
            "torch   scan by doubling over T, log2(T) passes; backward the same scan transposed and reversed",
            "triton  one program per row and run of channels, associative scan in tiles of T:",
            "        affine and diagonal, so steps compose and T runs in parallel",
        ]
    if facts.diagonal:
        return [
            "torch   loop over T",
            "triton  one program per run of channels, loop over T, inputs loaded one step ahead:",
            "        not affine, so steps do not compose",
        ]
    return [
        "torch   loop over T; R y of all steps as one GEMM before the backward, dR as one after it",
        "triton  one program per head and 16 rows, the head's matrices on chip for the whole loop:",
        "        channels of a head mix at every step, so the loop over T stays",
        "        where the matrices do not fit on chip, auto falls back to torch with warning W411",
    ]

"""Pointwise equations as one function in C++: fused regions, single ops and the step of a recurrence.

What depends on parameters alone is computed once for a block of channels, and then all rows of the block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..recurrence.analysis import analyse
from ..recurrence.expr import Expr, leaf, leaves
from ..recurrence.frontend import Recurrence
from ..recurrence.hoist import hoist
from ..recurrence.printer import Block, leaf_text, number_text
from ..recurrence.traces import trace_leaves
from .lines import at_depth, signature
from .words import WORDS

BLOCK = 256  # channels
SIMD = "#pragma omp simd"  # results lie apart from operands, which no compiler can know
Role = Literal["full", "row", "scalar"]


@dataclass(frozen=True)
class Operand:
    """What a function reads: "full" [rows, width], "row" [width], "scalar" []. `start` is what a row reads of it where
    a reset is set."""

    value: Expr
    role: Role
    start: float | None = None

    @property
    def text(self) -> str:
        return leaf_text(self.value)


def emit_step(name: str, rec: Recurrence, traced: bool) -> str:
    """One step of a recurrence without heads: reads x and r (full), state and traces (full, with their start), p (row);
    writes the outputs, the new state, the new traces."""
    made = dict(zip(rec.state, rec.update, strict=True)) | dict(rec.readouts)
    operands = [
        *(Operand(leaf("x", n), "full") for n in rec.inputs),
        *(Operand(leaf("r", n), "full") for n in rec.gates),
        *(Operand(leaf("s", n), "full", start) for n, start in zip(rec.state, rec.initial, strict=True)),
        *(Operand(e, "full", 0.0) for e in (trace_leaves(rec) if traced else ())),
        *(Operand(leaf("p", n), "row") for n in rec.params),
    ]
    traces = analyse(rec).traces
    after = traces.after if traced and traces else ()
    return emit_pointwise(name, operands, [*(made[n] for n in rec.outputs), *rec.update, *after], rec.names)


def emit_pointwise(name: str, operands: Sequence[Operand], results: Sequence[Expr], names: Mapping[Expr, str]) -> str:
    """``void name(c, rows, width, operands…, results…)``: a full operand and a result are `Rows`, others addresses."""
    parts, late, renamed = hoist(tuple(results), names)
    held, early = [leaf("h", part) for part, _ in parts], [value for _, value in parts]
    taken = set(WORDS) | {o.text for o in operands} | set(map(leaf_text, held))
    once, each = Block("cpp", names, taken), Block("cpp", renamed, taken)
    once_texts, each_texts = once.add(early), each.add(late)
    read = leaves(late)
    given = [f"{'Rows' if o.role == 'full' else 'const float*'} {o.text}_at" for o in operands]
    rows = [o for o in operands if o.role == "full" and o.value in read]
    texts = [o.text for o in rows]
    lines = [
        *signature(name, ["integer rows", "integer width", *given, *(f"Rows out{i}" for i in range(len(results)))]),
        *at_depth(1, [f"const float {o.text} = *{o.text}_at;" for o in operands if o.role == "scalar"]),
        "    in_pieces(c, rows, width, [&](integer first, integer stop) {",
        f"        for (integer from = 0; from < width; from += {BLOCK}) {{",
        f"            const integer size = width - from < {BLOCK} ? width - from : {BLOCK};",
    ]
    if held:
        lines += [
            *at_depth(3, [f"float {leaf_text(h)}_at[{BLOCK}];" for h in held]),
            SIMD,
            "            for (integer j = 0; j < size; ++j) {",
            *at_depth(4, [_load(o) for o in operands if o.role == "row" and o.value in leaves(early)]),
            *at_depth(4, once.text),
            *at_depth(4, [f"{leaf_text(h)}_at[j] = {text};" for h, text in zip(held, once_texts, strict=True)]),
            "            }",
        ]
    lines += [
        "            for (integer row = first; row < stop; ++row) {",
        *at_depth(4, [f"const float* __restrict {t}_row = {t}_at.at + row * {t}_at.step + from;" for t in texts]),
        *at_depth(4, [f"float* __restrict to{i} = out{i}.at + row * out{i}.step + from;" for i in range(len(results))]),
        *at_depth(4, ["const int carried = c.carried(row);"] if any(o.start is not None for o in rows) else []),
        SIMD,
        "                for (integer j = 0; j < size; ++j) {",
        *at_depth(5, [_load(o) for o in operands if o.role != "scalar" and o.value in read]),
        *at_depth(5, [f"const float {leaf_text(h)} = {leaf_text(h)}_at[j];" for h in held]),
        *at_depth(5, each.text),
        *at_depth(5, [f"to{i}[j] = {text};" for i, text in enumerate(each_texts)]),
        "                }",
        "            }",
        "        }",
        "    });",
        "}",
    ]
    return "\n".join(lines)


def _load(o: Operand) -> str:
    """One number of an operand, by the name that the equations have for it."""
    text = f"{o.text}_row[j]" if o.role == "full" else f"{o.text}_at[from + j]"
    if o.start is not None:
        text = f"f32::choose(carried, {text}, {number_text(o.start, 'cpp')})"
    return f"const float {o.text} = {text};"

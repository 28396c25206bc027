"""Recurrences as equations: what a cell of your own is written with. Needs no torch; docs/your_own_cell.md is the tour.

from cortexc.equations import State, recurrence, register_recurrence, sigmoid

@recurrence(inputs="z h", state="h", outputs="h")
def gated(x, s):
    z = sigmoid(x.z)
    return State(h=s.h + z * (x.h - s.h))

register_recurrence(gated, token="G")
"""

from __future__ import annotations

from .compiler.library.recurrences.register import register_recurrence
from .compiler.recurrence import (
    Outputs,
    Recurrence,
    State,
    Symbols,
    absolute,
    cos,
    describe,
    emit_module,
    equal,
    exp,
    expm1,
    log,
    log_sigmoid,
    maximum,
    minimum,
    recurrence,
    sigmoid,
    sin,
    sqrt,
    tanh,
    total,
    where,
)

__all__ = [
    "Outputs",
    "Recurrence",
    "State",
    "Symbols",
    "absolute",
    "cos",
    "describe",
    "emit_module",
    "equal",
    "exp",
    "expm1",
    "log",
    "log_sigmoid",
    "maximum",
    "minimum",
    "recurrence",
    "register_recurrence",
    "sigmoid",
    "sin",
    "sqrt",
    "tanh",
    "total",
    "where",
]

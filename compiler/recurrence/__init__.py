"""The recurrence compiler: a recurrence written once, as equations, becomes reference, step, forward and backward code.

from cortexc.compiler.recurrence import State, emit_module, recurrence, sigmoid

@recurrence(inputs="z h", state="h", outputs="h")
def mingru(x, s):
    z = sigmoid(x.z)
    return State(h=s.h + z * (x.h - s.h))

text = emit_module(mingru)  # a Python file that exports OP
"""

from .analysis import Facts, analyse
from .cost import Cost, cost
from .describe import describe
from .frontend import Outputs, Recurrence, State, Symbols, recurrence
from .functions import (
    absolute,
    cos,
    equal,
    exp,
    expm1,
    log,
    log_sigmoid,
    maximum,
    minimum,
    sigmoid,
    sin,
    sqrt,
    tanh,
    total,
    where,
)
from .module import emit_module
from .traces import trace_names

__all__ = [
    "Cost",
    "Facts",
    "Outputs",
    "Recurrence",
    "State",
    "Symbols",
    "absolute",
    "analyse",
    "cos",
    "cost",
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
    "sigmoid",
    "sin",
    "sqrt",
    "tanh",
    "total",
    "trace_names",
    "where",
]

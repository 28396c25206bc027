"""What the compiler knows of one op.

``infer``   the shape rule: operand types and attributes -> result types; a misfit raises :class:`ShapeError`.
``emit``    the right-hand side of the Python statement that computes it, from operand texts and attributes.
``flops``   multiplications and additions, as an int or an expression in B and T.
``imports`` the names of ``cortexc.kernels`` that the emitted text uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..ir.graph import Attr
from ..ir.types import Dim, Type, numel

FAMILIES = {
    "pointwise": "element by element, broadcasting",
    "gemm": "a matrix product",
    "reduction": "along one axis: norms, softmax, weighted sums",
    "recurrence": "a loop over time",
    "attention": "a window over time",
    "chunkwise": "a matrix memory, in chunks over time",
    "shape": "moves no or few bytes",
    "opaque": "somebody else's module",
}

Types = tuple[Type | None, ...]
Attrs = Mapping[str, Attr]


class ShapeError(ValueError):
    """Operands that do not fit. Resolving the spec rules this out for patterns, so it reaches authors of parts only."""


def no_flops(ins: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    return 0


def one_flop_each(ins: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    return numel(outs[0].shape)


@dataclass(frozen=True, slots=True)
class Op:
    name: str
    family: str
    infer: Callable[[Types, Attrs], tuple[Type, ...]]
    emit: Callable[[Sequence[str], Attrs], str]
    flops: Callable[[Types, tuple[Type, ...], Attrs], Dim] = no_flops
    imports: Callable[[Attrs], tuple[str, ...]] = lambda attrs: ()


def need(op: str, condition: bool, message: str) -> None:
    if not condition:
        raise ShapeError(f"{op}: {message}")


def first(types: Types) -> Type:
    assert types[0] is not None
    return types[0]

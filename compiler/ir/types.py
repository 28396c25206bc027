"""Types of graph values: a dtype word and a shape over the symbols ``B`` (rows), ``T`` (steps) and concrete widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import sympy

B = sympy.Symbol("B", integer=True, positive=True)
T = sympy.Symbol("T", integer=True, positive=True)

Dim: TypeAlias = int | sympy.Expr

DTYPES = {
    "f": "the model's compute dtype",
    "acc": "a carried accumulator: float32, or float64 when the model computes in float64",
    "i64": "a counter",
    "bool": "a mask",
    "episode": "an int64 that counts a row's episodes from a start of its own (kernels/dropout)",
}


@dataclass(frozen=True, slots=True)
class Type:
    """``dtype`` is a key of :data:`DTYPES`; an ``optional`` value may be absent (``None``) at run time."""

    dtype: str
    shape: tuple[Dim, ...]
    optional: bool = False

    def __str__(self) -> str:
        dims = ",".join(str(d) for d in self.shape)
        return f"{self.dtype}[{dims}]{'?' if self.optional else ''}"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def width(self) -> int:
        """The last dimension, which is always concrete."""
        return int(self.shape[-1])

    @property
    def lead(self) -> tuple[Dim, ...]:
        """``(B, T)`` of a sequence value, ``(B,)`` of a step value."""
        return tuple(d for d in self.shape if d in (B, T))

    def with_shape(self, *shape: Dim) -> Type:
        return Type(self.dtype, tuple(shape))

    def with_width(self, width: Dim) -> Type:
        return Type(self.dtype, (*self.shape[:-1], width))


def parse_type(text: str) -> Type:
    """The inverse of ``str(Type)``."""
    optional = text.endswith("?")
    dtype, _, dims = text.rstrip("?").rstrip("]").partition("[")
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r} in type {text!r}; known: {', '.join(DTYPES)}")
    names = {"B": B, "T": T}
    shape = tuple(int(d) if d.isdigit() else sympy.sympify(d, locals=names) for d in dims.split(",") if d)
    return Type(dtype, shape, optional)


def numel(shape: tuple[Dim, ...]) -> Dim:
    """The number of elements, as an int or an expression in B and T."""
    n: Dim = 1
    for d in shape:
        n = n * d
    return n

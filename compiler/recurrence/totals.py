"""`total(a)` in equations: the sum of `a` over everything that belongs to a head.

A total is a boundary: what comes before it is computed on every channel, what comes after it once a head. So it is no
operation of the expression DAG but a leaf `z.*`, whose summand is kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .expr import Expr, Scalar, leaf, leaves

_open: ContextVar[dict[Expr, Expr] | None] = ContextVar("totals", default=None)


def total(a: Scalar) -> Expr:
    """The sum of `a` over the channels of a head, and over its features where `a` has some. Read-outs may use it; the
    new state may not, since channels that mix do not run by themselves. A total of a total is refused."""
    known = _open.get()
    if known is None:
        raise TypeError("total(…) belongs into the equations of a recurrence")
    if not isinstance(a, Expr) or not leaves([a]):
        raise TypeError("a number has no total: it does not say over what")
    if any(e.kind == "z" for e in leaves([a])):
        raise TypeError("a total of a total is not supported")
    return known.setdefault(a, leaf("z", f"total{len(known)}"))


@contextmanager
def collecting() -> Iterator[dict[Expr, Expr]]:
    """What `total` is asked for meanwhile: summand -> leaf."""
    known: dict[Expr, Expr] = {}
    token = _open.set(known)
    try:
        yield known
    finally:
        _open.reset(token)

"""The functions that equations are written with, beside `+ - * / < <= > >=` and unary minus."""

from __future__ import annotations

from .expr import Expr, Scalar, make
from .totals import total as total


def exp(a: Scalar) -> Expr:
    return make("exp", a)


def expm1(a: Scalar) -> Expr:
    """exp(a) - 1, precise near 0. On Triton only before the loop (over parameters) is it precise."""
    return make("expm1", a)


def log(a: Scalar) -> Expr:
    return make("log", a)


def sqrt(a: Scalar) -> Expr:
    return make("sqrt", a)


def cos(a: Scalar) -> Expr:
    return make("cos", a)


def sin(a: Scalar) -> Expr:
    return make("sin", a)


def sigmoid(a: Scalar) -> Expr:
    return make("sigmoid", a)


def log_sigmoid(a: Scalar) -> Expr:
    return make("log_sigmoid", a)


def tanh(a: Scalar) -> Expr:
    return make("tanh", a)


def absolute(a: Scalar) -> Expr:
    return make("abs", a)


def minimum(a: Scalar, b: Scalar) -> Expr:
    return make("min", a, b)


def maximum(a: Scalar, b: Scalar) -> Expr:
    return make("max", a, b)


def where(condition: Expr, a: Scalar, b: Scalar) -> Expr:
    """`a` where the condition holds, else `b`."""
    return make("where", condition, a, b)


def equal(a: Scalar, b: Scalar) -> Expr:
    """The condition a == b."""
    return make("eq", a, b)

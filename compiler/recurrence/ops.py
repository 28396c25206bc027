"""The op table: one row says all there is to know about an operation on per-channel scalars.

A row holds its value on Python floats (for folding), the text it prints in torch, in Triton and in C++ (`{0}`, `{1}`, …
are the operands), its derivative rule and its flops. A new operation is one new row and one function in `functions.py`;
what C++ calls is in `kernels/native/prelude.h`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .expr import Expr

Target = Literal["torch", "triton", "cpp"]

# (node, adjoint of node) -> adjoint contributions of its operands; None where nothing flows
Rule = Callable[["Expr", "Expr"], tuple["Expr | None", ...]]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. `level` is how tightly the printed text binds: 0 compares, 1 sums, 2 products, 3 sign, 4 calls."""

    arity: int
    value: Callable[..., float]
    torch: str
    triton: str
    rule: Rule
    flops: int = 1
    level: int = 4
    boolean: bool = False
    torch_const: str = ""  # torch text when one operand is a number, which comes as {1}
    cpp: str = ""  # where it is not that of Triton

    def text(self, target: Target) -> str:
        """The template for a target."""
        return self.torch if target == "torch" else self.cpp if target == "cpp" and self.cpp else self.triton


def _nothing(n: Expr, g: Expr) -> tuple[None, ...]:
    return (None,) * len(n.args)


def _select(better: str) -> Rule:
    """Rule of minimum and maximum: to the chosen operand; half each in a tie; to the expression, against a constant."""

    def rule(n: Expr, g: Expr) -> tuple[Expr | None, ...]:
        a, b = n.args
        first, second = (a, b) if better == "lt" else (b, a)
        if b.op == "const":
            return n.of("where", n.of("le", first, second), g, 0.0), None
        if a.op == "const":
            return None, n.of("where", n.of("le", second, first), g, 0.0)
        tie = n.of("mul", g, 0.5)
        same = n.of("eq", a, b)
        return (
            n.of("where", same, tie, n.of("where", n.of("lt", first, second), g, 0.0)),
            n.of("where", same, tie, n.of("where", n.of("lt", first, second), 0.0, g)),
        )

    return rule


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _log_sigmoid(x: float) -> float:
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def _row(value: Callable[..., float], torch: str, triton: str, rule: Rule, flops: int = 8) -> Op:
    """A function of one operand, which has the same name in Triton and in C++; `flops` counts a special function as
    8."""
    return Op(1, value, torch, triton, rule, flops, cpp=f"f32::{triton.removeprefix('tl.')}")


OPS: dict[str, Op] = {
    # arithmetic
    "add": Op(2, lambda a, b: a + b, "{0} + {1}", "{0} + {1}", lambda n, g: (g, g), level=1),
    "sub": Op(2, lambda a, b: a - b, "{0} - {1}", "{0} - {1}", lambda n, g: (g, -g), level=1),
    "mul": Op(2, lambda a, b: a * b, "{0} * {1}", "{0} * {1}", lambda n, g: (g * n.args[1], g * n.args[0]), level=2),
    "div": Op(
        2,
        lambda a, b: a / b,
        "{0} / {1}",
        "{0} / {1}",
        lambda n, g: (g / n.args[1], -(g / n.args[1] * n)),
        flops=4,
        level=2,
    ),
    "neg": Op(1, lambda a: -a, "-{0}", "-{0}", lambda n, g: (-g,), level=3),
    "abs": _row(
        abs,
        "torch.abs({0})",
        "tl.abs({0})",
        lambda n, g: (n.of("where", n.of("lt", n.args[0], 0.0), -g, g),),
        flops=1,
    ),
    # choice: NaN goes through minimum and maximum, on both targets
    "min": Op(
        2,
        min,
        "torch.minimum({0}, {1})",
        "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
        _select("lt"),
        torch_const="torch.clamp({0}, max={1})",
        cpp="f32::minimum({0}, {1})",
    ),
    "max": Op(
        2,
        max,
        "torch.maximum({0}, {1})",
        "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
        _select("gt"),
        torch_const="torch.clamp({0}, min={1})",
        cpp="f32::maximum({0}, {1})",
    ),
    "where": Op(
        3,
        lambda c, a, b: a if c else b,
        "torch.where({0}, {1}, {2})",
        "tl.where({0}, {1}, {2})",
        lambda n, g: (None, n.of("where", n.args[0], g, 0.0), n.of("where", n.args[0], 0.0, g)),
        cpp="({0} ? {1} : {2})",
    ),
    "eq": Op(2, lambda a, b: a == b, "{0} == {1}", "{0} == {1}", _nothing, level=0, boolean=True),
    "lt": Op(2, lambda a, b: a < b, "{0} < {1}", "{0} < {1}", _nothing, level=0, boolean=True),
    "le": Op(2, lambda a, b: a <= b, "{0} <= {1}", "{0} <= {1}", _nothing, level=0, boolean=True),
    # special functions; a rule may use the node itself, whose value is at hand
    "exp": _row(math.exp, "torch.exp({0})", "tl.exp({0})", lambda n, g: (g * n,)),
    "expm1": _row(math.expm1, "torch.expm1({0})", "expm1({0})", lambda n, g: (g * n.of("exp", n.args[0]),)),
    "log": _row(math.log, "torch.log({0})", "tl.log({0})", lambda n, g: (g / n.args[0],)),
    "sqrt": _row(math.sqrt, "torch.sqrt({0})", "tl.sqrt({0})", lambda n, g: (g * 0.5 / n,)),
    "cos": _row(math.cos, "torch.cos({0})", "tl.cos({0})", lambda n, g: (-(g * n.of("sin", n.args[0])),)),
    "sin": _row(math.sin, "torch.sin({0})", "tl.sin({0})", lambda n, g: (g * n.of("cos", n.args[0]),)),
    "sigmoid": _row(_sigmoid, "torch.sigmoid({0})", "sigmoid({0})", lambda n, g: (g * n * (1.0 - n),)),
    "tanh": _row(math.tanh, "torch.tanh({0})", "tanh({0})", lambda n, g: (g * (1.0 - n * n),)),
    "log_sigmoid": _row(
        _log_sigmoid,
        "F.logsigmoid({0})",
        "log_sigmoid({0})",
        lambda n, g: (g * n.of("sigmoid", -n.args[0]),),
        flops=16,
    ),
}

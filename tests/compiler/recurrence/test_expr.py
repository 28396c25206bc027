"""Expressions: one object per formula, simplified as it is built, differentiated and printed right."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from cortexc.compiler.recurrence import absolute, equal, exp, maximum, minimum, sigmoid, where
from cortexc.compiler.recurrence.expr import const, leaf, make, substitute
from cortexc.compiler.recurrence.gradient import gradient
from cortexc.compiler.recurrence.ops import OPS
from cortexc.compiler.recurrence.printer import print_function

A, B, C = leaf("x", "a"), leaf("x", "b"), leaf("x", "c")


def evaluate(root, **values):
    """The printed text, run by torch."""
    text = print_function("f", [A, B, C], [root], target="torch", names={}, doc="")
    space = {"torch": torch, "F": F}
    exec(text, space)
    (result,) = space["f"](*(torch.as_tensor(values.get(n, 0.0), dtype=torch.float64) for n in "abc"))
    return torch.as_tensor(result, dtype=torch.float64)


def test_equal_formulas_are_one_object():
    assert A + B * C is A + B * C
    assert A * B is B * A
    assert A + B is B + A
    assert A - B is not B - A
    assert exp(A + 1) is exp(A + 1.0)


@pytest.mark.parametrize(
    ("made", "simple"),
    [
        (A + 0, A),
        (0.0 + A, A),
        (A * 1, A),
        (A - 0, A),
        (A / 1, A),
        (-make("neg", A), A),
        (0 - A, -A),
        (A + -B, A - B),
        (A - -B, A + B),
        (-1 * A, -A),
        (A * 0, const(0)),
        (where(A < B, C, C), C),
        (const(2) * const(3) + const(1), const(7)),
        (exp(0.0), const(1)),
    ],
)
def test_simplified(made, simple):
    assert made is simple


def test_constants_keep_their_sign():
    assert const(0.0) is not const(-0.0)


def test_no_branch_on_a_value():
    with pytest.raises(TypeError, match="use where"):
        bool(A < B)


def test_arity_is_checked():
    with pytest.raises(TypeError, match="takes 2"):
        make("add", A)


def test_substitute_simplifies():
    (found,) = substitute([A * B + C], {A: const(1.0), C: const(0.0)})
    assert found is B


@pytest.mark.parametrize(
    ("root", "value"),
    [
        (A - (B - C), 1 - (2 - 4)),
        (A / (B * C), 1 / 8),
        (A / B * C, 2),
        (-(A + B) * C, -12),
        (A - -B, 3),
        (-A * -B, 2),
        (where((A < B), A + B, C) * C, 12),
        (minimum(A, 0.5) + maximum(2.5, B), 3.0),
        (where(equal(A, 1.0), absolute(-B), C), 2),
    ],
)
def test_printed_text_binds_right(root, value):
    assert evaluate(root, a=1.0, b=2.0, c=4.0).item() == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("op", [name for name, row in OPS.items() if not row.boolean])
def test_rules(op):
    """Every derivative rule against central differences, every text against the row's own value."""
    row = OPS[op]
    point = (0.7, 0.4, 1.3)
    args = ((A < C, A * B, C) if op == "where" else (A, B, C))[: row.arity]
    root = make(op, *args)
    at = dict(zip("abc", point, strict=True))
    if op != "where":
        assert evaluate(root, **at).item() == pytest.approx(row.value(*point[: row.arity]), rel=1e-12)
    for name, symbol in (("a", A), ("b", B), ("c", C)):
        h = 1e-6
        slope = (evaluate(root, **{**at, name: at[name] + h}) - evaluate(root, **{**at, name: at[name] - h})) / (2 * h)
        derived = gradient({root: const(1.0)}, [symbol])[symbol]
        assert evaluate(derived, **at).item() == pytest.approx(slope.item(), abs=1e-8)


def test_gradient_reuses_the_value():
    root = sigmoid(A)
    derived = gradient({root: const(1.0)}, [A])[A]
    assert root in (*derived.args, *(n for arg in derived.args for n in arg.args))


def test_a_tie_is_shared():
    root = maximum(A, B)
    found = gradient({root: const(1.0)}, [A, B])
    assert evaluate(found[A], a=math.pi, b=math.pi).item() == 0.5
    assert evaluate(found[B], a=math.pi, b=math.pi).item() == 0.5

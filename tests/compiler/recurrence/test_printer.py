"""Expressions as the text of a function."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cortexc.compiler.recurrence.expr import leaf
from cortexc.compiler.recurrence.printer import print_function

from ...tolerances import assert_close


@pytest.mark.parametrize(
    ("equation", "text"),
    [
        (lambda x, s: s.h + x.u * x.v, "torch.addcmul(s_h, x_u, x_v)"),
        (lambda x, s: x.u * x.v + s.h, "torch.addcmul(s_h, x_u, x_v)"),
        (lambda x, s: s.h - x.u * x.v, "torch.addcmul(s_h, x_u, x_v, value=-1)"),
        (lambda x, s: s.h + 0.5 * x.u, "torch.add(s_h, x_u, alpha=0.5)"),
        (lambda x, s: s.h - x.u * 0.5, "torch.add(s_h, x_u, alpha=-0.5)"),
        (lambda x, s: 1.0 + x.u * x.v + s.h * 0.0, "1.0 + x_u * x_v"),
        (lambda x, s: x.u * x.v - s.h, "x_u * x_v - s_h"),
    ],
)
def test_brief_text_joins_products_and_sums(equation, text):
    arguments = [leaf("x", "u"), leaf("x", "v"), leaf("s", "h")]
    x, s = SimpleNamespace(u=arguments[0], v=arguments[1]), SimpleNamespace(h=arguments[2])
    root = equation(x, s)
    printed = [
        print_function("f", arguments, [root], target="torch", names={}, doc="", brief=brief) for brief in (True, False)
    ]
    assert f"return {text}," in printed[0]
    numbers = torch.randn(3, 4, dtype=torch.float64)
    made = [run(source, numbers) for source in printed]
    assert_close(*made)


def run(source, numbers):
    scope = {"torch": torch}
    exec(source, scope)
    return scope["f"](*numbers)[0]

"""The functions of prelude.h against torch in float64, over their whole range and at its edges."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cortexc.kernels.native import native
from cortexc.kernels.native.library import Native

from ...tolerances import ABSOLUTE, EDGES, ULPS

INF, NAN = float("inf"), float("nan")

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "abs": torch.abs,
    "tanh": torch.tanh,
    "log_sigmoid": F.logsigmoid,
    # Where these are tiny for negative operands they are held to an absolute error.
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
}
ENDS = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1e-38, 88.72, -103.9, 3e38, -3e38, INF, -INF, NAN])

SOURCE = "\n".join(
    f'extern "C" void take_{name}(const long long* a) {{\n'
    f"    for (integer i = 0; i < a[2]; ++i) ((float*)a[1])[i] = f32::{name}(((const float*)a[0])[i]);\n}}"
    for name in FUNCTIONS
)
_KERNELS = {name: Native(f"take_{name}", SOURCE) for name in FUNCTIONS}


def applied(name: str, x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    with native():
        assert _KERNELS[name].usable()
        _KERNELS[name]([x.data_ptr(), y.data_ptr(), x.numel()])
    return y


def operands(name: str) -> Tensor:
    x = torch.cat(
        [torch.randn(50_000) * s for s in (1e-6, 1e-2, 1.0, 10.0, 40.0)] + [torch.linspace(-110, 95, 100_001)]
    )
    return x.abs() if name in ("log", "sqrt") else x


def ulps(found: Tensor, exact: Tensor) -> Tensor:
    wanted = exact.float()
    spacing = torch.nextafter(wanted.abs(), torch.tensor(INF)) - wanted.abs()
    return ((found.double() - exact).abs() / spacing.double())[wanted.isfinite()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_are_a_few_units_in_the_last_place(name: str) -> None:
    x = operands(name)
    found, exact = applied(name, x), FUNCTIONS[name](x.double())
    if name in ABSOLUTE:
        scale = exact.abs().clamp_min(1.0)
        assert ((found.double() - exact).abs() / scale).max() < ABSOLUTE[name]
    else:
        assert ulps(found, exact).max() <= ULPS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_edges(name: str) -> None:
    """Infinities and NaN come out as from torch in float64, and what is finite stays so."""
    found, wanted = applied(name, ENDS), FUNCTIONS[name](ENDS.double()).float()
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found.isinf(), wanted.isinf())
    assert torch.allclose(found, wanted, **EDGES, equal_nan=True)


def test_a_zero_keeps_its_sign_through_tanh() -> None:
    assert torch.equal(applied("tanh", torch.tensor([-0.0, 0.0])).signbit(), torch.tensor([True, False]))
    assert torch.equal(applied("expm1", torch.tensor([-0.0, 0.0])).abs(), torch.zeros(2))


PAIRS = [(1.0, 2.0), (2.0, 1.0), (NAN, 1.0), (1.0, NAN), (-INF, INF), (0.0, 0.0)]


@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_a_choice_hands_nan_on(name: str) -> None:
    source = (
        f'extern "C" void choose_{name}(const long long* a) {{\n'
        f"    for (integer i = 0; i < a[3]; ++i) ((float*)a[2])[i] = "
        f"f32::{name}(((const float*)a[0])[i], ((const float*)a[1])[i]);\n}}"
    )
    left, right = torch.tensor(PAIRS).T.contiguous()
    found = torch.empty_like(left)
    kernel = Native(f"choose_{name}", source)
    with native():
        assert kernel.usable()
        kernel([left.data_ptr(), right.data_ptr(), found.data_ptr(), found.numel()])
    assert torch.equal(found.nan_to_num(7.0), getattr(torch, name)(left, right).nan_to_num(7.0))

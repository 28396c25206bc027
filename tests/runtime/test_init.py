"""How parameters start: each rule's range, and the same numbers for the same seed whatever backend and dtype."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import cortexc
from cortexc.runtime.init import RULES, start

from .contract import WIDTH


def filled(rule: str, args: list[float], *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    p = torch.full(shape, float("nan") if dtype.is_floating_point else -1, dtype=dtype)
    start(p, rule, args)
    return p


def test_linear_is_that_of_torch() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.Linear(9, 400)
    for ours, other in ((filled("linear", [9], 400, 9), theirs.weight), (filled("linear", [9], 400), theirs.bias)):
        assert ours.abs().max() <= 1 / 3 and abs(ours.std().item() - other.std().item()) < 0.02
    assert (filled("linear", [0], 4) == 0).all()


def test_uniform_normal_constant_linspace() -> None:
    u = filled("uniform", [-0.001, 0.002], 5000)
    assert -0.001 <= u.min() < -0.0009 and 0.0019 < u.max() <= 0.002
    n = filled("normal", [0.5], 5000)
    assert abs(n.std().item() - 0.5) < 0.02 and abs(n.mean().item()) < 0.03
    assert (filled("constant", [-2], 3, 4) == -2).all()
    assert filled("linspace", [3, 6], 2, 4).tolist() == [[3, 4, 5, 6]] * 2


def test_orthogonal() -> None:
    w = filled("orthogonal", [2.0], 6, 6)
    assert torch.allclose(w @ w.T, 4 * torch.eye(6, dtype=torch.float64), atol=1e-12)


def test_slstm_bias_opens_the_forget_gate_head_by_head() -> None:
    b = filled("slstm_bias", [2], 4, 8)
    assert b[1].tolist() == [3, 4, 5, 6, 3, 4, 5, 6]
    assert (b[[0, 2, 3]] == 0).all()


def test_axon_radii_and_phases() -> None:
    r = torch.exp(-torch.exp(filled("axon_nu", [0.4, 0.9], 4000)))
    assert 0.4 <= r.min() < 0.41 and 0.89 < r.max() <= 0.9
    assert abs(r.square().mean().item() - (0.16 + 0.81) / 2) < 0.01  # uniform in the square
    theta = torch.exp(filled("axon_theta", [math.tau], 4000))
    assert 0 < theta.min() < 0.02 and math.tau - 0.02 < theta.max() <= math.tau


def test_srht_signs_and_order_are_fixed() -> None:
    signs, order = filled("srht_signs", [7], 64), filled("srht_order", [7, 1], 64, dtype=torch.int64)
    assert set(signs.tolist()) == {-1.0, 1.0} and sorted(order.tolist()) == list(range(64))
    torch.manual_seed(99)
    again = torch.empty(64)
    start(again, "srht_signs", [7])
    assert torch.equal(again.double(), signs)
    assert filled("srht_order", [7, 0], 8, dtype=torch.int64).tolist() == list(range(8))


@pytest.mark.parametrize("rule", ["linear", "normal", "axon_nu", "axon_theta"])
def test_narrow_dtypes_round_the_same_numbers(rule: str) -> None:
    args = {"linear": [9], "normal": [1], "axon_nu": [0.4, 0.9], "axon_theta": [6.0]}[rule]
    wide = filled(rule, args, 50, dtype=torch.float32)
    assert torch.equal(filled(rule, args, 50, dtype=torch.bfloat16), wide.bfloat16())


def test_every_rule_that_a_part_asks_for_exists() -> None:
    for pattern in ("AXMS", "X^ M^ S^", "L", "C", "Ag"):
        stack = cortexc.compile(pattern, d_hidden=WIDTH, backend="eager")
        assert all(torch.isfinite(p).all() for p in stack.parameters()), pattern
    assert "constant" in RULES


@pytest.mark.parametrize("backend", ["reference", "triton", "auto"])
def test_one_seed_one_start(backend: str) -> None:
    found = []
    for kind in ("eager", backend):
        torch.manual_seed(3)
        found.append(cortexc.compile("AXMS", d_hidden=WIDTH, backend=kind, dtype=torch.float32).state_dict())
    assert all(torch.equal(found[0][k], found[1][k]) for k in found[0])
    torch.manual_seed(4)
    other = cortexc.compile("AXMS", d_hidden=WIDTH, backend=backend, dtype=torch.float32).state_dict()
    assert any(not torch.equal(found[0][k], other[k]) for k in other)


def test_parameters_start_as_leaves() -> None:
    stack = cortexc.compile("A", d_hidden=WIDTH, backend="eager")
    assert all(p.requires_grad and p.grad_fn is None and p.is_leaf for p in stack.parameters())

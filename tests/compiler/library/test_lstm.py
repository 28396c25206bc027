"""Core `L` against torch.nn.LSTM. Covers C1."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cortexc
from cortexc.cortex_dsl import LSTMCoreConfig

from ...tolerances import assert_close

F64 = torch.float64
H, B, T = 12, 3, 7


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("proj", [0, 5])
@pytest.mark.parametrize("backend", ["reference", "eager"])
def test_equals_torch(layers: int, bias: bool, proj: int, backend: str) -> None:
    """Outputs, final state and every gradient, from a given state; names and shapes of the parameters are torch's."""
    torch.manual_seed(0)
    oracle = nn.LSTM(H, H, layers, bias=bias, batch_first=True, proj_size=proj, dtype=F64)
    config = LSTMCoreConfig(hidden_size=H, num_layers=layers, bias=bias, proj_size=proj)
    core = cortexc.compile(config, backend=backend, dtype=F64)
    missing = core.load_state_dict(oracle.state_dict(), strict=False)
    assert missing.unexpected_keys == [] and missing.missing_keys == (
        ["out_proj.weight", "out_proj.bias"] if proj else []
    )
    x = torch.randn(B, T, H, dtype=F64)
    h, c = torch.randn(layers, B, proj or H, dtype=F64), torch.randn(layers, B, H, dtype=F64)
    state = core.init_state(B)
    state["h"], state["c"] = h.transpose(0, 1), c.transpose(0, 1)
    y, after = core(x, state)
    expected, (last_h, last_c) = oracle(x, (h, c))
    if proj:
        expected = nn.functional.linear(expected, core.out_proj.weight, core.out_proj.bias)
    assert_close(y, expected)
    assert_close(after["h"], last_h.transpose(0, 1))
    assert_close(after["c"], last_c.transpose(0, 1))
    weights = torch.randn(y.shape, dtype=F64)
    names = [n for n, _ in oracle.named_parameters()]
    params = dict(core.named_parameters())
    wanted = torch.autograd.grad((expected * weights).sum() + last_c.sum(), list(oracle.parameters()))
    found = torch.autograd.grad((y * weights).sum() + after["c"].sum(), [params[n] for n in names])
    for name, a, e in zip(names, found, wanted, strict=True):
        assert_close(a, e, F64, name)


def test_start() -> None:
    """Weights are orthogonal, biases 1."""
    core = cortexc.compile(LSTMCoreConfig(hidden_size=H), backend="eager", dtype=F64)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        weight = core.get_parameter(name)
        assert_close(weight.T @ weight, torch.eye(H, dtype=F64))
    assert (core.bias_ih_l0 == 1).all() and (core.bias_hh_l0 == 1).all()


def test_the_loop_holds_no_product_of_the_input() -> None:
    """W_ih x of all steps is one product in front of each layer's recurrence."""
    text = (cortexc.compile("L(num_layers=2)", d_hidden=H, backend="eager").folder / "module.py").read_text()
    body = text[text.index("def column_l(") : text.index("def sequence(")]
    assert body.count("F.linear(") == 2 and body.count("lstm.sequence(") == 2

"""Core `C` against torch.nn.functional.conv1d. Covers C4."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import cortexc
from cortexc.cortex_dsl import CausalConv1dCoreConfig

from ...tolerances import assert_close

F64 = torch.float64
H, B, T = 6, 3, 9


@pytest.mark.parametrize("mixing", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel", [1, 4, 12])
@pytest.mark.parametrize("backend", ["reference", "eager"])
def test_equals_torch(mixing: bool, bias: bool, kernel: int, backend: str) -> None:
    """A fresh state is zeros on the left, also for a kernel longer than the sequence; the state is K inputs."""
    torch.manual_seed(0)
    config = CausalConv1dCoreConfig(hidden_size=H, kernel_size=kernel, causal_conv_bias=bias, channel_mixing=mixing)
    core = cortexc.compile(config, backend=backend, dtype=F64)
    x = torch.randn(B, T, H, dtype=F64, requires_grad=True)
    y, state = core(x)
    groups = 1 if mixing else H
    padded = F.pad(x.transpose(1, 2), (kernel - 1, 0))
    expected = F.conv1d(padded, core.conv.weight, core.conv.bias if bias else None, groups=groups).transpose(1, 2)
    assert_close(y, expected)
    assert_close(state["conv"], F.pad(x, (0, 0, kernel, 0))[:, -kernel:])
    weights = torch.randn_like(y)
    tensors = [x, *core.parameters()]
    wanted = torch.autograd.grad((expected * weights).sum(), tensors)
    for a, e in zip(torch.autograd.grad((y * weights).sum(), tensors), wanted, strict=True):
        assert_close(a, e)


@pytest.mark.parametrize("mixing", [False, True])
def test_start(mixing: bool) -> None:
    """Within the bounds of torch.nn.Conv1d, and not far inside them."""
    core = cortexc.compile(CausalConv1dCoreConfig(hidden_size=64, channel_mixing=mixing), backend="eager")
    bound = torch.nn.Conv1d(64, 64, 4, groups=1 if mixing else 64).weight[0].numel() ** -0.5
    for p in (core.conv.weight, core.conv.bias):
        assert 0.8 * bound < p.abs().max() <= bound


def test_kernel_zero_is_the_identity() -> None:
    """No parameters, no state; it still has a dtype and a device to be moved."""
    core = cortexc.compile(CausalConv1dCoreConfig(hidden_size=H, kernel_size=0), backend="eager", dtype=F64)
    x = torch.randn(B, T, H, dtype=F64)
    y, state = core(x, resets=torch.ones(B, T, dtype=torch.bool))
    assert torch.equal(y, x) and state.is_empty() and list(core.state_dict()) == []
    assert core.float().dtype == torch.float32 and torch.equal(core(x.float())[0], x.float())

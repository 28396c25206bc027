"""Causal convolution against torch's own, and its window."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cortexc.kernels import causal_conv, causal_conv_step, segment_ids

from ...tolerances import assert_close


@pytest.mark.parametrize("kernel", [1, 2, 4, 7])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("steps", [1, 3, 20])
def test_is_torch_conv1d_over_the_carried_window(kernel: int, groups: int, steps: int) -> None:
    x, buffer = torch.randn(2, steps, 6).double(), torch.randn(2, kernel, 6).double()
    weight, bias = torch.randn(6, 6 // groups, kernel).double(), torch.randn(6).double()
    y, after = causal_conv(x, buffer, weight, bias)
    window = torch.cat([buffer, x], 1)
    assert_close(y, F.conv1d(window[:, 1:].transpose(1, 2), weight, bias, groups=groups).transpose(1, 2))
    assert torch.equal(after, window[:, -kernel:])


def test_window_holds_nothing_from_before_the_last_reset() -> None:
    x = torch.arange(1.0, 7.0).view(1, 6, 1)
    resets = torch.tensor([[False, True, False, False, True, False]])
    _, after = causal_conv(x, torch.full((1, 4, 1), 9.0), torch.ones(1, 1, 4), None, segment_ids(resets))
    assert after.flatten().tolist() == [0, 0, 5, 6]
    _, after = causal_conv_step(x[:, 0], torch.full((1, 4, 1), 9.0), torch.ones(1, 1, 4), None, torch.tensor([True]))
    assert after.flatten().tolist() == [0, 0, 0, 1]


def test_the_window_is_no_view_of_the_inputs() -> None:
    x = torch.zeros(1, 5, 2)
    _, after = causal_conv(x, torch.zeros(1, 3, 2), torch.ones(2, 1, 3))
    x.fill_(7)
    assert (after == 0).all()

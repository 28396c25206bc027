"""The norms against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cortexc.kernels import head_norm, rms_norm

from ..tolerances import assert_close


@pytest.mark.parametrize("lead", [(), (3,), (2, 5)])
@pytest.mark.parametrize("heads", [1, 4])
def test_head_norm_is_a_group_norm(lead: tuple[int, ...], heads: int) -> None:
    x, weight = torch.randn(*lead, 12).double(), torch.randn(12).double()
    expected = F.group_norm(x.reshape(-1, 12), heads, weight, eps=1e-5).view_as(x)
    assert_close(head_norm(x, weight, heads), expected)


def test_rms_norm_is_torchs() -> None:
    x, weight = torch.randn(2, 5, 12).double(), torch.randn(12).double()
    assert_close(rms_norm(x, weight), F.rms_norm(x, (12,), weight, eps=1e-6))
    assert_close(rms_norm(x), F.rms_norm(x, (12,), eps=1e-6))


@pytest.mark.parametrize("norm", [lambda x, w: head_norm(x, w, 3), rms_norm])
def test_lower_precision_sums_in_float32(norm) -> None:
    x, weight = (torch.randn(4, 300) + 30).bfloat16(), torch.ones(300).bfloat16()
    y = norm(x, weight)
    assert y.dtype == torch.bfloat16
    assert_close(y, norm(x.double(), weight.double()), torch.bfloat16)

"""The causal convolution as equations (a shift register and a read-out) against the one written by hand."""

from __future__ import annotations

import pytest
import torch

from cortexc.kernels import causal_conv, causal_conv_step
from cortexc.kernels.segments import segment_ids

from ...tolerances import assert_close
from .conftest import DEVICE, load, window

SIZES = [1, 2, 3, 4]


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    return {size: load(window(size), folder).OP for size in SIZES}


def draw(size, dtype=torch.float64, rows=3, steps=9, width=5):
    """Inputs, the window before them, taps, bias."""
    generator = torch.Generator().manual_seed(size)
    shapes = [(rows, steps, width), (rows, size, width), (width, size), (width,)]
    drawn = [torch.randn(*s, generator=generator, dtype=torch.float64).to(DEVICE, dtype) for s in shapes]
    return [t.requires_grad_() for t in drawn]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("impl", "dtype"), [("torch", torch.float64), ("triton", torch.float32)])
@pytest.mark.parametrize("resets", ["none", "random"])
def test_equal(windows, size, impl, dtype, resets):
    given = draw(size, dtype)
    x, buffer, taps, bias = given
    mask = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(0)).to(DEVICE) < 0.3
    mask = mask if resets == "random" else None
    params = (*taps.unbind(1), bias)
    (y,), after, _ = windows[size].sequence(x[:, :, None], params, None, buffer.unbind(1), (), mask, impl=impl)
    wanted, kept = causal_conv(x, buffer, taps[:, None], bias, segment_ids(mask))
    after = torch.stack(after, 1)
    seeds = [torch.randn_like(wanted), torch.randn_like(kept)]
    assert_close(y, wanted)
    assert_close(after, kept)
    found, expected = (torch.autograd.grad(out, given, seeds) for out in ([y, after], [wanted, kept]))
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("size", SIZES)
def test_step(windows, size):
    x, buffer, taps, bias = (t.detach() for t in draw(size))
    resets = torch.tensor([True, False, False], device=DEVICE)
    (y,), after, _ = windows[size].step(
        x[:, :1], (*taps.unbind(1), bias), None, buffer.unbind(1), (), resets, impl="torch"
    )
    wanted, kept = causal_conv_step(x[:, 0], buffer, taps[:, None], bias, resets)
    assert_close(y, wanted)
    assert_close(torch.stack(after, 1), kept)

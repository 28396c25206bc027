"""The Triton kernels of the depthwise convolution against the plain one in float64, with every gradient."""

from __future__ import annotations

import pytest
import torch

from cortexc.kernels import causal_conv_reference, segment_ids
from cortexc.kernels.conv import depthwise as module
from cortexc.kernels.conv.depthwise import depthwise

from ...tolerances import TOLERANCES, assert_close

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = [(1, 1, 1, 1), (2, 3, 5, 4), (3, 37, 70, 4), (2, 18, 16, 7), (2, 2, 3, 5)]  # rows, steps, channels, taps


def run(function, dtype, sizes, resets, bias):
    """y, the next window, and the gradients of a random loss on both."""
    rows, steps, width, kernel = sizes
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(torch.float32).to(DEVICE, dtype)

    leaves = [draw(rows, steps, width), draw(rows, kernel, width), draw(width, 1, kernel)]
    leaves += [draw(width)] if bias else []
    seeds = draw(rows, steps, width), draw(rows, kernel, width)
    mask = (torch.rand(rows, steps, generator=generator) < resets).to(DEVICE) if resets is not None else None
    x, carried, weight, *rest = leaves = [t.requires_grad_() for t in leaves]
    results = function(x, carried, weight, rest[0] if rest else None, segment_ids(mask))
    return [*results, *torch.autograd.grad(results, leaves, seeds)]


@pytest.mark.parametrize("resets", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("bias", [True, False])
def test_is_the_reference(sizes, resets, bias, monkeypatch):
    monkeypatch.setattr(module, "FEW_INTERPRETED", 4)  # several programs, and a rest
    found = run(depthwise, torch.float32, sizes, resets, bias)
    wanted = run(causal_conv_reference, torch.float64, sizes, resets, bias)
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert_close(a, b, torch.float32, str(i))


def test_half_precision_keeps_its_dtypes():
    found = run(depthwise, torch.bfloat16, SIZES[2], 0.3, True)
    wanted = run(causal_conv_reference, torch.float64, SIZES[2], 0.3, True)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.bfloat16
        assert ((a.double() - b).norm() / b.norm()).item() < TOLERANCES[torch.bfloat16]


def test_nan_stays_in_its_episode():
    x = torch.randn(1, 6, 2, device=DEVICE)
    x[0, 2] = float("nan")
    mask = torch.tensor([[False, False, False, True, False, False]], device=DEVICE)
    x.requires_grad_()
    weight = torch.randn(2, 1, 4, device=DEVICE)
    y, kept = depthwise(x, torch.zeros(1, 4, 2, device=DEVICE), weight, None, segment_ids(mask))
    assert torch.isfinite(y[:, 3:]).all()
    assert torch.isfinite(kept).all()
    assert torch.isnan(y[:, 2]).all()
    d = torch.zeros_like(y)
    d[0, 4] = float("nan")
    (gradient,) = torch.autograd.grad(y, x, d)
    assert torch.isfinite(gradient[0, :3]).all()


def test_twice_raises():
    x = torch.randn(1, 4, 2, device=DEVICE, requires_grad=True)
    y, _ = depthwise(x, torch.zeros(1, 4, 2, device=DEVICE), torch.randn(2, 1, 4, device=DEVICE), None, None)
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()

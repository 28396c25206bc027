"""What generated code reads is the parameter tree as it is now, however it came to be so."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations

import cortexc
from cortexc.runtime.mirror import Mirror

from ..tolerances import assert_close


@pytest.fixture
def stack() -> cortexc.CompiledStack:
    """A stack that has its image."""
    torch.manual_seed(0)
    made = cortexc.compile("AM^", d_hidden=16, backend="eager", dtype="float64")
    x = torch.randn(2, 16).double()
    for _ in range(3):
        made.step(x)
    return made


def as_read_anew(stack: cortexc.CompiledStack, x: Tensor) -> Tensor:
    """The output with an image of its own."""
    held, stack._mirror = stack._mirror, Mirror()
    y, _ = stack.step(x)
    stack._mirror = held
    return y


def follows(stack: cortexc.CompiledStack, before: Tensor, x: Tensor) -> None:
    """Now and later calls read the new tree."""
    for _ in range(3):
        y, _ = stack.step(x)
        assert_close(y, as_read_anew(stack, x))
        assert not torch.allclose(y, before)


def test_an_image_is_made_and_kept(stack) -> None:
    image = stack._mirror.of(stack)
    assert image is not stack
    assert stack._mirror.of(stack) is image
    gate = stack.layers[0].experts[0].gate1
    assert image.layers[0].experts[0].gate1.Wr.weight is gate.Wr.weight


@pytest.mark.parametrize("how", ["in place", "data", "replaced", "module", "parametrised", "loaded", "assigned"])
def test_changes_are_seen(stack, how: str) -> None:
    x = torch.randn(2, 16).double()
    before, _ = stack.step(x)
    core = stack.layers[0].experts[0].core
    new = torch.randn_like(core.out_proj.weight)
    if how == "in place":
        with torch.no_grad():
            core.out_proj.weight.mul_(2.0)
    elif how == "data":
        core.out_proj.weight.data = new
    elif how == "replaced":
        core.out_proj.weight = nn.Parameter(new)
    elif how == "module":
        core.out_proj = nn.Linear(32, 16).double()
    elif how == "parametrised":
        parametrizations.weight_norm(core.out_proj)
        core.out_proj.parametrizations.weight.original0.data.mul_(2.0)
    else:
        values = {k: v * 2.0 if v.is_floating_point() else v for k, v in stack.state_dict().items()}
        stack.load_state_dict(values, assign=how == "assigned")
    follows(stack, before.detach(), x)


def test_a_swapped_tree_is_read_and_the_image_stays(stack) -> None:
    x = torch.randn(2, 16).double()
    before, _ = stack.step(x)
    image = stack._mirror.of(stack)
    for _ in range(3):
        y, _ = functional_call(stack, {k: 2.0 * p for k, p in stack.named_parameters()}, (x,))
        assert not torch.allclose(y, before)
        assert_close(stack.step(x)[0], before)
    assert stack._mirror.of(stack) is image


def test_modes_are_read_live(stack) -> None:
    shown, core = stack._mirror.of(stack).layers[0].experts[0].core, stack.layers[0].experts[0].core
    for mode in (False, True):
        core.train(mode)
        assert shown.training is mode


def test_copies_have_images_of_their_own(stack) -> None:
    x = torch.randn(2, 16).double()
    for other in (copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))):
        with torch.no_grad():
            other.norm.weight.mul_(2.0)
        assert_close(other.step(x)[0], as_read_anew(other, x))
        assert not torch.allclose(other.step(x)[0], stack.step(x)[0])

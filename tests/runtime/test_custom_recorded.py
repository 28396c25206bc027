"""Modules of users on a GPU: recorded and captured where their class allows it, left alone where it does not."""

from __future__ import annotations

import pytest
import torch

import cortexc
from cortexc import CortexStackConfig
from cortexc.config import PassThroughScaffoldConfig
from cortexc.runtime import CompiledStack
from cortexc.runtime.recording import AFTER

from ..tolerances import assert_close
from .contract import ROWS, WIDTH, inputs, leaves, mask
from .custom_parts import AxonGatedConfig, CountingConfig, SidewaysConfig

F32 = torch.float32
CONFIGS = {
    "allowed": PassThroughScaffoldConfig(core=AxonGatedConfig()),
    "not allowed": PassThroughScaffoldConfig(core=CountingConfig()),
    "not allowed around a core": SidewaysConfig(core=AxonGatedConfig()),
}


def stack_of(name: str) -> CompiledStack:
    config = CortexStackConfig(d_hidden=WIDTH, scaffolds=[CONFIGS[name]] * 2)
    return cortexc.compile(config, dtype=F32, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONFIGS)
def test_recording(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks with resets and backwards give the same, recorded or not."""
    stack = stack_of(name)
    results = []
    for switch in ("1", "0"):
        monkeypatch.setenv("CORTEXC_RECORD", switch)
        state, found = None, []
        for i in range(AFTER + 3):
            x = inputs(6, F32, seed=i).requires_grad_()
            y, state = stack(x, state, resets=mask("random", 6, seed=i))
            grads = torch.autograd.grad(y.square().sum(), [x, *stack.parameters()], allow_unused=True)
            state = state.detach()
            found += [y.detach(), *leaves(state).values(), *(g for g in grads if g is not None)]
        results.append(found)
    for a, b in zip(*results, strict=True):
        assert_close(a, b, F32 if a.is_floating_point() else None)
    assert bool(stack._recorder._recordings) == stack.capturable == (name == "allowed")


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONFIGS)
def test_stepper(name: str) -> None:
    stack = stack_of(name)
    stepper, x, state = stack.stepper(ROWS), inputs(5, F32), None
    assert (stepper._graph is not None) == stack.capturable
    with torch.no_grad():
        for t in range(5):
            m = mask("random", 5)[:, t]  # type: ignore[index]
            y, state = stack.step(x[:, t], state, resets=m)
            assert_close(stepper(x[:, t], resets=m), y)

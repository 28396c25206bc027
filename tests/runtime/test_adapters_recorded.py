"""Routed adapters in recorded calls: ids are data of a replay, and the trunk's multiplier counts once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import cortexc
from cortexc.runtime import CompiledStack
from cortexc.runtime.recording import AFTER

from .contract import DEVICE, ROWS, inputs, leaves, mask
from .routed import F32, OPTIONAL, OPTIONS, PATTERNS, adapted, compiled, pair

STEPS = 8


def routes(i: int) -> Tensor:
    return (torch.arange(ROWS, device=DEVICE) * 3 + i) % 4


def train(stack: CompiledStack) -> dict[str, Tensor]:
    """Outputs, states and gradients of calls whose ids change from one to the next."""
    found: dict[str, Tensor] = {}
    state = None
    for i in range(AFTER + 3):
        stack.zero_grad(set_to_none=True)
        y, state = stack(inputs(STEPS, F32, seed=i), state, resets=mask("random", STEPS, seed=i), route_ids=routes(i))
        y.square().sum().backward()
        state = state.detach()
        found |= {f"{i} y": y.detach()} | {f"{i} {k}": v.clone() for k, v in leaves(state).items()}
        found |= {f"{i} gradient of {n}": p.grad.clone() for n, p in stack.named_parameters() if p.grad is not None}
    return found


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["A", "X", "S", "L", "AXMS"])
@pytest.mark.parametrize("mult", [1.0, 0.25])
def test_equal_to_the_bit(name: str, mult: float, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = pair(PATTERNS[name], "triton", F32)[0]
    cortexc.set_trunk_lr_mult_(stack, mult)
    found = train(stack)
    assert stack._recorder._recordings
    monkeypatch.setenv("CORTEXC_RECORD", "0")
    expected = train(stack)
    cortexc.set_trunk_lr_mult_(stack, 1.0)
    whole = train(stack)
    assert [k for k in expected if not torch.equal(found[k], expected[k])] == []
    for k, v in whole.items():
        if "gradient" in k:
            factor = 1.0 if k.partition(" of ")[2] in adapted(stack) else mult
            assert torch.equal(expected[k], factor * v), k


@pytest.mark.gpu
def test_a_captured_step() -> None:
    """Ids change between replays, and a call without them captures anew."""
    trained = pair("A S", "triton", F32)[0]
    stack = compiled("A S", OPTIONAL, backend="triton", dtype=F32)
    stack.load_state_dict(trained.state_dict())
    stepper, state = stack.stepper(ROWS), None
    for t in range(6):
        x, ids = inputs(6, F32)[:, t], None if t in (2, 3) else routes(t)
        with torch.no_grad():
            expected, state = stack.step(x, state, route_ids=ids)
            assert torch.allclose(stepper(x, route_ids=ids), expected, rtol=1e-5, atol=1e-6), t
    assert stepper._graph is not None


@pytest.mark.gpu
def test_the_gather_checks_ids_on_the_device() -> None:
    """The host does not look at the ids: a capture, which forbids waiting, goes through."""
    stack = cortexc.compile("A" + OPTIONS, d_hidden=16, backend="eager", device=DEVICE)
    x, ids = inputs(STEPS, F32), routes(0)
    with torch.no_grad():
        stack(x, route_ids=ids)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            stack(x, route_ids=ids)
        finally:
            torch.cuda.set_sync_debug_mode("default")

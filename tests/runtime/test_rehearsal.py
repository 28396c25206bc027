"""A first call is rehearsed once for each kind of call, and nobody can tell but by the clock."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cortexc.kernels import ahead
from cortexc.runtime import module, recording, rehearsal
from cortexc.runtime.rehearsal import compile_ahead

from ..kernels.ahead import pretend_a_compiler
from .contract import PATTERNS, carried, inputs, leaves, make, mask

F32 = torch.float32
STEPS = 8


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The device of every rehearsal."""
    seen: list[torch.device] = []

    def compile(work: Callable[[], object], device: torch.device) -> None:
        seen.append(device)
        compile_ahead(work, device)

    monkeypatch.setattr(rehearsal, "compile_ahead", compile)
    return seen


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearsals on a CPU: all of them but the kernels."""
    pretend_a_compiler(monkeypatch)
    monkeypatch.setenv("CORTEXC_DISABLE_TRITON", "1")
    monkeypatch.setenv("CORTEXC_RECORD", "0")
    monkeypatch.setattr(module, "recordable", lambda x: recording.undisturbed())
    monkeypatch.setattr(module, "RECORDED", ("eager",))


def test_once_a_kind(pretended: None, rehearsed: list[torch.device]) -> None:
    stack = make("A", "eager", F32)
    x = inputs(STEPS, F32)
    calls: list[tuple[Callable[[], Any], int]] = [
        (lambda: stack(x), 1),
        (lambda: stack(x[:, :3]), 1),  # another size is no other kind
        (lambda: stack(x, resets=mask("random", STEPS)), 2),
        (lambda: stack.step(x[:, 0]), 3),
        (lambda: torch.no_grad()(stack)(x), 4),
        (lambda: stack(x), 4),
    ]
    for call, count in calls:
        call()
        assert len(rehearsed) == count
    copy.deepcopy(stack)(x)
    assert len(rehearsed) == 5


def test_leaves_no_trace(pretended: None, rehearsed: list[torch.device]) -> None:
    """Results, the caller's tensors, gradients and hooks are as if there had been none."""
    x = inputs(STEPS, F32).requires_grad_()
    plain = make(PATTERNS["AXMS"], "eager", F32)
    stack = copy.deepcopy(plain)
    state = {k: v.clone() for k, v in leaves(plain.init_state(x.shape[0])).items()}
    given = stack.init_state(x.shape[0])
    calls: list[str] = []
    for name, p in stack.named_parameters():
        p.register_hook(lambda g, name=name: calls.append(name))
    outputs: list[Tensor] = []
    stack.register_forward_hook(lambda module, args, outs: outputs.append(outs[0]))
    y, after = stack(x, given, resets=mask("random", STEPS))
    assert len(rehearsed) == 1 and calls == [] and x.grad is None
    assert len(outputs) == 1 and outputs[0] is y
    assert all(p.grad is None for p in stack.parameters())
    assert all(torch.equal(v, state[k]) for k, v in leaves(given).items())
    y.square().sum().backward()
    assert len(calls) == len(set(calls)) > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RECORDED", ())
        y_plain, after_plain = plain(x, given, resets=mask("random", STEPS))
    assert torch.equal(y, y_plain)
    found = carried(after)
    assert all(torch.equal(v, found[k]) for k, v in carried(after_plain).items())


def test_users_modules_are_not_rehearsed(pretended: None, rehearsed: list[torch.device]) -> None:
    stack = make("A", "eager", F32)
    stack.closed = False
    stack(inputs(STEPS, F32))
    assert rehearsed == []


# -- on a GPU --------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("pattern", ["AXMS", "Ag", "C"])
def test_same_bits(pattern: str, rehearsed: list[torch.device], monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that a rehearsal compiled compute what kernels compute that were compiled at their launch."""

    def gradients(stack: Any) -> list[Tensor]:
        x = inputs(STEPS, F32).requires_grad_()
        y, state = stack(x, resets=mask("random", STEPS))
        loss = y.square().sum() + sum(v.square().sum() for v in carried(state).values() if v.is_floating_point())
        found = torch.autograd.grad(loss, [x, *stack.parameters()], allow_unused=True)
        return [y.detach(), *(g for g in found if g is not None)]

    stack = make(PATTERNS.get(pattern, pattern), "triton", F32)
    with torch.autograd.set_detect_anomaly(True):
        first = gradients(stack)
    assert [device.type for device in rehearsed] == ["cuda"]
    monkeypatch.setattr(module, "recordable", lambda x: False)
    assert all(torch.equal(a, b) for a, b in zip(first, gradients(stack), strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("attached", [False, True])
def test_all_kernels_are_there(attached: bool, rehearsed: list[torch.device]) -> None:
    """After a rehearsal neither the call nor its backward compiles anything, whatever the loss reads."""
    from triton import knobs

    stack = make(PATTERNS["AXMS"], "triton", F32)
    x = inputs(STEPS + 3 + 5 * attached, F32)
    late: list[str] = []
    run = stack._sequence

    def watched(*args: Any) -> Any:
        if not ahead.rehearsing():
            knobs.runtime.jit_post_compile_hook = lambda **kw: late.append(kw["fn"].name)
        return run(*args)

    stack._sequence = watched
    try:
        y, state = stack(x)
        loss = y.square().sum()
        if attached:
            loss = loss + sum(v.square().sum() for v in carried(state).values() if v.is_floating_point())
        loss.backward()
    finally:
        knobs.runtime.jit_post_compile_hook = None
    assert rehearsed == [x.device] and late == []

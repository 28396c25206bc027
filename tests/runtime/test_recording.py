"""Recorded calls are the same calls: off on a CPU; on a GPU equal to the bit, and out of the way wherever unsafe."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import cortexc
from cortexc.runtime import CompiledStack, module, recording
from cortexc.runtime.recording import AFTER, KEPT, Recording, clone_all, copy_all, recordable

from .contract import PATTERNS, ROWS, WIDTH, carried, inputs, leaves, make, mask

F32 = torch.float32
STEPS = 8
Count = list[int]


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> Count:
    """One entry for each forward that was replayed."""
    seen: Count = []
    real = Recording.replay

    def replay(self: Recording, x: Tensor, *rest: object) -> tuple[Tensor, ...]:
        seen.append(x.shape[1] if x.dim() == 3 else 0)
        return real(self, x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Recording, "replay", replay)
    return seen


# -- anywhere --------------------------------------------------------------------------------------------------------


def test_off_on_a_cpu(replays: Count) -> None:
    x = torch.zeros(1, 2, WIDTH)
    assert not recordable(x)
    stack = cortexc.compile("A", d_hidden=WIDTH, backend="auto", dtype=F32)
    for _ in range(AFTER + 2):
        stack(x)
    assert replays == [] and stack._recorder._recordings == {}


def test_copies_group_by_dtype_and_keep_values() -> None:
    tensors = (torch.arange(3.0), torch.arange(2), torch.ones(2, 2, dtype=torch.float64), torch.arange(4.0))
    made = clone_all(tensors)
    assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in zip(made, tensors, strict=True))
    targets = tuple(torch.zeros_like(t) for t in tensors)
    copy_all(targets, tensors)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(targets, tensors, strict=True))
    with pytest.raises(ValueError, match="zip"):
        copy_all(targets[:2], tensors)


class Again:
    """Stands for a graph: computes the work once more, into the places of its first results."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work, self.grad, self.found = work, torch.is_grad_enabled(), work()

    def pool(self) -> None:
        return None

    def replay(self) -> None:
        with torch.set_grad_enabled(self.grad):
            new = self.work()
        places = self.found.keys() if isinstance(new, dict) else range(len(new))
        for place in places:
            self.found[place].detach().copy_(new[place].detach())


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording on a CPU: all of it but the graphs and the kernels."""
    monkeypatch.setenv("CORTEXC_DISABLE_TRITON", "1")

    def captured(work: Callable[[], Any], pool: Any = None) -> tuple[Any, Again]:
        graph = Again(work)
        return graph.found, graph

    monkeypatch.setattr(module, "recordable", lambda x: recording.undisturbed())
    monkeypatch.setattr(module, "RECORDED", ("eager",))
    monkeypatch.setattr(recording, "warm_up", lambda device, run: run())
    monkeypatch.setattr(recording, "captured", captured)
    monkeypatch.setattr(recording, "lanes", lambda device: nullcontext())


@pytest.mark.parametrize("pattern", ["A", PATTERNS["AXMS"], "Ag"])
def test_bookkeeping(pattern: str, pretended: None, replays: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operands in, results out, gradients to their places, fresh and carried states: the same numbers as unrecorded."""
    found = chunks(make(pattern, "eager", F32))
    assert replays == [STEPS] * 4
    plain(monkeypatch)
    same(found, chunks(make(pattern, "eager", F32)))


def test_hooks_see_calls_and_no_recording(pretended: None, replays: Count) -> None:
    """A forward hook on the stack runs once for each call of its user's, with the results that the user gets."""
    stack, seen = make("A", "eager", F32), []
    stack.register_forward_hook(lambda module, args, outs: seen.append(outs[0]))
    with torch.no_grad():
        given = [stack(inputs(STEPS, F32))[0] for _ in range(AFTER + 2)]
    assert len(replays) == 3
    assert len(seen) == len(given) and all(a is b for a, b in zip(seen, given, strict=True))


def test_fresh_states_follow_carried_ones(pretended: None, replays: Count) -> None:
    """A call without a state begins at the beginning, whatever the call before left; also where leaves start at 1."""
    stack = make("Ag", "eager", F32)
    x = inputs(STEPS, F32)
    first, state = stack(x)
    for _ in range(AFTER + 1):
        stack(x, state)
        assert torch.equal(stack(x)[0], first)
    assert len(replays) > AFTER


def through_checkpoints(backend: str, reentrant: bool) -> list[Tensor]:
    """Gradients of several calls whose activations are computed again in the backward."""
    stack, found = make(PATTERNS["AXMS"], backend, F32), []
    x = inputs(STEPS, F32).requires_grad_()

    def call(x: Tensor) -> Tensor:
        return stack(x.tanh())[0]

    for _ in range(AFTER + 3):
        checkpoint(call, x, use_reentrant=reentrant).square().sum().backward()
        found += [g.clone() for g in (x.grad, *(p.grad for p in stack.parameters())) if g is not None]
        stack.zero_grad()
    return found


@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
def test_checkpointed_activations(pretended: None, reentrant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch counts and compares, tensors saved in the first run and in the second, no recording changes."""
    found = through_checkpoints("eager", reentrant)
    plain(monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(found, through_checkpoints("eager", reentrant), strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
def test_checkpointed_activations_on_a_gpu(reentrant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = through_checkpoints("triton", reentrant)
    plain(monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(found, through_checkpoints("triton", reentrant), strict=True))


def test_a_loss_may_leave_outputs_out(pretended: None, replays: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that one backward brought does not return in the next, where that output was not used."""

    def gradients() -> list[Tensor]:
        stack, found = make(PATTERNS["A"], "eager", F32), []
        x = inputs(STEPS, F32)
        for i in range(AFTER + 3):
            y, state = stack(x)
            loss = y.square().sum()
            if i % 2 == 0:
                loss = loss + sum(v.square().sum() for v in carried(state).values())
            found += torch.autograd.grad(loss, list(stack.parameters()), allow_unused=True)
        return [g for g in found if g is not None]

    found = gradients()
    assert len(replays) == 4
    plain(monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(found, gradients(), strict=True))


# -- on a GPU --------------------------------------------------------------------------------------------------------

Outcome = dict[str, Tensor]


def chunks(stack: CompiledStack, count: int = AFTER + 3, accumulate: bool = False) -> Outcome:
    """Chained chunks with resets, each with its backward: every output, state, and gradient."""
    found: Outcome = {}
    state = None
    stack.zero_grad(set_to_none=True)
    for i in range(count):
        x = inputs(STEPS, F32, seed=20 + i).requires_grad_()
        y, state = stack(x, state, resets=mask("random", STEPS, seed=40 + i))
        (y.square().sum() + sum(v.sin().sum() for v in carried(state).values())).backward()
        state = state.detach()
        found |= {f"{i} y": y, f"{i} gradient of x": x.grad} | {f"{i} {k}": v for k, v in leaves(state).items()}
        found |= {f"{i} gradient of {n}": p.grad.clone() for n, p in stack.named_parameters() if p.grad is not None}
        if not accumulate:
            stack.zero_grad(set_to_none=i % 2 == 0)
    return {k: v.detach().clone() for k, v in found.items()}


def same(found: Outcome, expected: Outcome) -> None:
    assert found.keys() == expected.keys()
    different = [k for k in found if not torch.equal(found[k], expected[k])]
    assert different == []


def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEXC_RECORD", "0")


@pytest.mark.gpu
@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("accumulate", [False, True], ids=["fresh", "accumulated"])
def test_equal_to_the_bit(name: str, accumulate: bool, replays: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = make(PATTERNS[name], "triton", F32)
    found = chunks(stack, accumulate=accumulate)
    assert replays == [STEPS] * 4
    plain(monkeypatch)
    same(found, chunks(make(PATTERNS[name], "triton", F32), accumulate=accumulate))
    assert replays == [STEPS] * 4


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["A", "AXMS"])
def test_training_is_equal_to_the_bit(name: str, replays: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that an optimizer changes in place are seen by the recording."""

    def train() -> list[Tensor]:
        stack = make(PATTERNS[name], "triton", F32)
        optimizer = torch.optim.SGD(stack.parameters(), lr=0.01)
        for i in range(AFTER + 4):
            optimizer.zero_grad()
            stack(inputs(STEPS, F32, seed=i))[0].square().mean().backward()
            optimizer.step()
        return [p.detach().clone() for p in stack.parameters()]

    found = train()
    assert len(replays) == 5
    plain(monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(found, train(), strict=True))


@pytest.mark.gpu
def test_without_gradients_and_in_steps(replays: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = make(PATTERNS["AXMS"], "triton", F32)

    def run() -> list[Tensor]:
        x, state, outs = inputs(AFTER + 4, F32), None, []
        with torch.no_grad():
            for t in range(x.shape[1]):
                y, state = stack.step(x[:, t], state)
                outs.append(y)
        return [*outs, *leaves(state).values()]  # type: ignore[arg-type]

    found = run()
    assert replays == [0] * 5
    plain(monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(found, run(), strict=True))


def warm(stack: CompiledStack) -> None:
    for _ in range(AFTER):
        stack(inputs(STEPS, F32))[0].sum().backward()
    stack.zero_grad()


@pytest.mark.gpu
def test_results_belong_to_the_caller(replays: Count) -> None:
    stack = make("A", "triton", F32)
    warm(stack)
    with torch.no_grad():
        for _ in range(AFTER):
            first, state = stack(inputs(STEPS, F32, seed=1))
        kept = [t.clone() for t in (first, *leaves(state).values())]
        stack(inputs(STEPS, F32, seed=2))
    assert len(replays) >= 2
    assert all(torch.equal(a, b) for a, b in zip(kept, (first, *leaves(state).values()), strict=True))


@pytest.mark.gpu
def test_two_forwards_before_a_backward(replays: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording holds the values of one forward, so the second runs by itself; both gradients are right."""
    stack = make("A", "triton", F32)
    for _ in range(AFTER):  # of the very kind used below: x requires a gradient
        stack(inputs(STEPS, F32).requires_grad_())[0].sum().backward()
    before = len(replays)
    x = [inputs(STEPS, F32, seed=s).requires_grad_() for s in (1, 2)]
    outs = [stack(x[0])[0], stack(x[1])[0]]
    assert len(replays) == before + 1
    (outs[0].square().sum() + outs[1].square().sum()).backward()
    plain(monkeypatch)
    for t in x:
        again = t.detach().clone().requires_grad_()
        stack(again)[0].square().sum().backward()
        assert torch.equal(again.grad, t.grad)


@pytest.mark.gpu
def test_a_forward_whose_result_was_dropped_frees_the_recording(replays: Count) -> None:
    stack = make("A", "triton", F32)
    warm(stack)
    before = len(replays)
    for _ in range(3):
        stack(inputs(STEPS, F32))
    assert len(replays) == before + 3


@pytest.mark.gpu
def test_a_second_backward_raises() -> None:
    stack = make("A", "triton", F32)
    warm(stack)
    y = stack(inputs(STEPS, F32))[0].sum()
    y.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"recorded as a CUDA graph and its backward has run.*CORTEXC_RECORD=0"):
        y.backward()


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["replaced", "cast and back", "frozen", "loaded"])
def test_changed_parameters_are_noticed(how: str, replays: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = make("A", "triton", F32)
    warm(stack)
    gate = stack.layers[0].experts[0].gate1
    new = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)).to("cuda")
    before = len(replays)
    if how == "replaced":
        gate.Wr.weight = nn.Parameter(new)
    elif how == "cast and back":
        stack.double().float()
    elif how == "frozen":
        gate.Wr.weight.requires_grad_(False)
    else:
        stack.load_state_dict({k: v * 1.5 for k, v in stack.state_dict().items()})
    found = gradients(stack)
    assert len(replays) == before + (how == "loaded")  # in place: the recording reads the new numbers
    plain(monkeypatch)
    same(found, gradients(stack))


def gradients(stack: CompiledStack) -> Outcome:
    """One call of the kind that `warm` makes."""
    stack.zero_grad()
    y, _ = stack(inputs(STEPS, F32, seed=5))
    y.square().sum().backward()
    return {"y": y.detach()} | {n: p.grad.clone() for n, p in stack.named_parameters() if p.grad is not None}


@pytest.mark.gpu
def test_the_switch(replays: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    plain(monkeypatch)
    stack = make("A", "triton", F32)
    for _ in range(AFTER + 2):
        stack(inputs(STEPS, F32))
    assert replays == [] and stack._recorder._recordings == {}


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["eager", "reference"])
def test_only_our_own_backends(backend: str, replays: Count) -> None:
    stack = make("A", backend, F32)
    for _ in range(AFTER + 2):
        stack(inputs(STEPS, F32))
    assert replays == []


@pytest.mark.gpu
def test_kinds_of_calls_are_told_apart_and_bounded(replays: Count) -> None:
    stack = make("A", "triton", F32)
    with torch.no_grad():
        for steps in range(1, KEPT + 4):
            for _ in range(AFTER):
                stack(inputs(steps, F32))
    assert len(stack._recorder._recordings) == KEPT
    assert len(replays) == KEPT


@pytest.mark.gpu
def test_copies_start_without_recordings(replays: Count) -> None:
    stack = make("A", "triton", F32)
    warm(stack)
    other = copy.deepcopy(stack)
    assert other._recorder._recordings == {}
    same(chunks(other), chunks(stack))


@pytest.mark.gpu
def test_the_stepper_is_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """One CUDA graph a step, also after the weights changed in place and after a cast."""
    stack = make(PATTERNS["AXMS"], "triton", F32)
    stepper, x, m = stack.stepper(ROWS), inputs(STEPS, F32), mask("random", STEPS)
    plain(monkeypatch)
    state = None
    with torch.no_grad():
        for t in range(STEPS):
            y, state = stack.step(x[:, t], state, resets=m[:, t])
            assert torch.equal(stepper(x[:, t], resets=m[:, t]), y), t
            if t == 3:
                for p in stack.parameters():
                    p.mul_(1.01)
    found = leaves(stepper.state)
    assert all(torch.equal(found[k], v) for k, v in leaves(state).items())  # type: ignore[arg-type]

"""What a module is put through by others' code: narrow dtypes, checkpointed activations, averages, optimizers
that are saved. Copies, casts, tying and functional calls are in ``test_module.py``, torch.compile in
``test_compile_graph.py``."""

from __future__ import annotations

import copy
import io
from functools import partial

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from cortexc.runtime import CompiledStack

from ..tolerances import TOLERANCES
from .contract import PATTERNS, ROWS, inputs, leaves, make, mask
from .routed import ROUTES

STEPS = 13
F32, F64 = torch.float32, torch.float64
CARETS = "X^(mem_len=5) M^(chunk_size=4) S^"
OTHERS = "L(num_layers=2) C Ag"
EVERY = {**PATTERNS, "carets": CARETS, "others": OTHERS}


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


def training(stack: CompiledStack, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        stack(inputs(5, F64, seed=20 + step))[0].square().sum().backward()
        optimizer.step()


# -- narrow dtypes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cast", ["half", "bfloat16"])
@pytest.mark.parametrize("name", EVERY)
def test_narrow_parameters(name: str, cast: str) -> None:
    """`.half()` and `.bfloat16()`: results near float32's, accumulators still float32, finite gradients everywhere."""
    wide = make(EVERY[name], "eager", F32)
    stack = getattr(copy.deepcopy(wide), cast)()
    dtype = stack.dtype
    expected, _ = wide(inputs(STEPS, F32), resets=mask("random", STEPS))
    y, state = stack(inputs(STEPS, dtype), resets=mask("random", STEPS))
    assert y.dtype == dtype == {"half": torch.float16, "bfloat16": torch.bfloat16}[cast]
    assert relative(y, expected) < 3 * TOLERANCES[dtype]
    fresh = leaves(stack.init_state(1))
    assert {k: v.dtype for k, v in leaves(state).items()} == {k: v.dtype for k, v in fresh.items()}
    assert any(v.dtype == F32 for v in fresh.values()) or name in ("X", "C")
    y.float().square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in stack.parameters())


# -- activation checkpointing ------------------------------------------------------------------------------------------


DROPPING = {
    "X dropping": "X(mem_len=5, attn_dropout=0.3, out_dropout=0.2)",
    "S dropping": "S(dropout=0.3)@postup_gated(dropout=0.3)",
    "M dropping": "M(chunk_size=4)@preup_gated(dropout=0.3)",
    "L dropping": "L(num_layers=2, dropout=0.4)",
    "routed": "A L" + " with adapter_num_slots=4 adapter_dropout=0.4",
}


def routes(stack: CompiledStack) -> dict[str, Tensor]:
    return {"route_ids": ROUTES} if stack.adapter else {}


@pytest.mark.parametrize("carried", [True, False], ids=["carried", "fresh"])
@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
@pytest.mark.parametrize("name", [*EVERY, *DROPPING])
def test_checkpointed_activations_give_the_same_gradients(name: str, reentrant: bool, carried: bool) -> None:
    """`torch.utils.checkpoint` runs the forward twice: the second is the first again, the state included, from a state
    or without one. Dropout's masks are those of the state, or of the generator that checkpoint winds back."""
    stack = make({**EVERY, **DROPPING}[name], "eager", F64)
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    with torch.no_grad():
        _, state = stack(inputs(5, F64, seed=7), **routes(stack)) if carried else (None, None)

    def gradients(through: bool) -> list[Tensor]:
        stack.zero_grad()
        torch.manual_seed(5)
        leaf = x.clone().requires_grad_()

        def call(leaf: Tensor) -> tuple[Tensor, ...]:
            y, after = stack(leaf, state, resets=m, **routes(stack))
            return y, *leaves(after).values()

        found = checkpoint(call, leaf, use_reentrant=reentrant) if through else call(leaf)
        sum(t.square().sum() for t in found if t.requires_grad).backward()
        return [leaf.grad, *(p.grad for p in stack.parameters() if p.grad is not None)]

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", [*EVERY, *DROPPING])
def test_a_chain_of_checkpoints_carries_the_state(name: str) -> None:
    """One checkpoint a piece of the sequence, the state attached from one to the next: the gradients are those of the
    same calls without checkpoints."""
    stack = make({**EVERY, **DROPPING}[name], "eager", F64)
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    first = stack.init_state(ROWS)

    def gradients(through: bool) -> list[Tensor]:
        stack.zero_grad()
        leaf, state, outputs = x.clone().requires_grad_(), first, []

        def call(piece: Tensor, resets: Tensor, state: TensorDict) -> tuple[Tensor, TensorDict]:
            return stack(piece, state, resets=resets, **routes(stack))

        for piece, resets in zip(leaf.split(5, 1), m.split(5, 1), strict=True):
            run = partial(checkpoint, call, use_reentrant=False) if through else call
            y, state = run(piece, resets, state)
            outputs.append(y)
        torch.cat(outputs, 1).square().sum().backward()
        return [leaf.grad, *(p.grad for p in stack.parameters() if p.grad is not None)]

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(found, expected)


# -- averages and optimizers -------------------------------------------------------------------------------------------


def test_an_averaged_copy() -> None:
    """Exponential and plain averages of packed weights; the average is a stack that runs."""
    stack = make(PATTERNS["AXMS"], "eager", F64)
    start = {n: p.detach().clone() for n, p in stack.named_parameters()}
    average = AveragedModel(stack, avg_fn=lambda old, new, count: 0.75 * old + 0.25 * new)
    average.update_parameters(stack)  # the first one copies
    training(stack, torch.optim.SGD(stack.parameters(), lr=0.01), 1)
    average.update_parameters(stack)
    for name, p in average.module.named_parameters():
        expected = 0.75 * start[name] + 0.25 * dict(stack.named_parameters())[name]
        assert torch.allclose(p, expected, rtol=0, atol=1e-12), name
    twin = make(PATTERNS["AXMS"], "eager", F64)
    twin.load_state_dict(average.module.state_dict())
    assert torch.equal(average(inputs(4, F64))[0], twin(inputs(4, F64))[0])


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.RMSprop])
def test_an_optimizer_goes_on_where_it_was_saved(optimizer: type[torch.optim.Optimizer]) -> None:
    def start() -> tuple[CompiledStack, torch.optim.Optimizer]:
        stack = make(PATTERNS["AXMS"], "eager", F64)
        return stack, optimizer(stack.parameters(), lr=0.01)

    one, its = start()
    training(one, its, 3)
    file = io.BytesIO()
    torch.save({"stack": one.state_dict(), "optimizer": its.state_dict()}, file)
    training(one, its, 2)

    two, other = start()
    file.seek(0)
    held = torch.load(file, weights_only=True)
    two.load_state_dict(held["stack"])
    other.load_state_dict(held["optimizer"])
    training(two, other, 2)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


def test_layers_can_be_given_to_different_groups() -> None:
    """Parameter groups by name, weight decay off for what has one dimension; `nn.Module.apply` before it."""
    stack = make(PATTERNS["AXMS"], "eager", F64)

    def shrink(module: nn.Module) -> None:
        for p in module.parameters(recurse=False):
            p.data.mul_(0.5)

    before = {n: p.detach().clone() for n, p in stack.named_parameters()}
    stack.apply(shrink)
    assert all(torch.equal(p, 0.5 * before[n]) for n, p in stack.named_parameters())
    decayed = [p for p in stack.parameters() if p.dim() > 1]
    kept = [p for p in stack.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.5}, {"params": kept, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    for p in stack.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for n, p in stack.named_parameters():
        assert torch.equal(p, (0.25 if p.dim() > 1 else 0.5) * before[n]), n


@pytest.mark.parametrize("name", ["A", "S", "X"])
def test_forward_mode_goes_through_steps(name: str) -> None:
    """The tangent of a step without gradients, against the same number by reverse mode."""
    stack, x = make(PATTERNS[name], "eager", F64), inputs(6, F64)
    with torch.no_grad():
        _, state = stack(x[:, :5])
    direction, seed = inputs(1, F64, seed=8)[:, 0], inputs(1, F64, seed=9)[:, 0]
    with torch.no_grad(), forward_ad.dual_level():
        y, _ = stack.step(forward_ad.make_dual(x[:, 5], direction), state)
        tangent = forward_ad.unpack_dual(y).tangent
    leaf = x[:, 5].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(stack.step(leaf, state)[0], leaf, seed)
    expected = (gradient * direction).sum()
    assert abs((tangent * seed).sum() - expected) <= TOLERANCES[F64] * abs(expected)

"""The step engine gives the numbers of `stack.step`, whatever happens to the stack in between."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cortexc import CortexInputError, CortexStateError
from cortexc.runtime import CompiledStack
from cortexc.runtime.stepper import Stepper

from ..tolerances import assert_close
from .contract import DEVICE, PATTERNS, ROWS, WIDTH, inputs, leaves, make, mask

F32, F64 = torch.float32, torch.float64
STEPS = 7


def by_step(stack: CompiledStack, x: Tensor, m: Tensor | None, state: object = None) -> tuple[list[Tensor], object]:
    outs = []
    with torch.no_grad():
        for t in range(x.shape[1]):
            y, state = stack.step(x[:, t], state, resets=None if m is None else m[:, t])
            outs.append(y)
    return outs, state


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("kind", ["none", "false", "random", "all"])
def test_is_step(name: str, kind: str) -> None:
    stack, x, m = make(PATTERNS[name], "eager", F64), inputs(STEPS, F64), mask(kind, STEPS)
    expected, state = by_step(stack, x, m)
    stepper = stack.stepper(ROWS)
    for t, y in enumerate(expected):
        assert_close(stepper(x[:, t], resets=None if m is None else m[:, t]), y, what=f"step {t}")
    found = leaves(stepper.state)
    for path, leaf in leaves(state).items():  # type: ignore[arg-type]
        assert_close(found[path], leaf, what=path)


@pytest.mark.parametrize("form", ["bool", "float", "column"])
def test_masks_of_every_form(form: str) -> None:
    stack, x = make("A", "eager", F64), inputs(STEPS, F64)
    m = mask("random", STEPS)[:, 1]
    stepper = stack.stepper(ROWS)
    stepper(x[:, 0])
    _, state = stack.step(x[:, 0])
    given = {"bool": m, "float": m.double(), "column": m[:, None]}[form]
    assert_close(stepper(x[:, 1], resets=given), stack.step(x[:, 1], state, resets=m)[0])


def test_a_mask_does_not_outlive_its_step() -> None:
    stack, x = make("A", "eager", F64), inputs(STEPS, F64)
    m = torch.zeros(ROWS, STEPS, dtype=torch.bool, device=DEVICE)
    m[:, 2] = True
    expected, _ = by_step(stack, x, m)
    stepper = stack.stepper(ROWS)
    for t in range(STEPS):
        assert_close(stepper(x[:, t], resets=m[:, t] if t == 2 else None), expected[t], what=f"step {t}")


def test_state_is_a_copy_and_can_be_set() -> None:
    stack, x = make(PATTERNS["AXMS"], "eager", F64), inputs(STEPS, F64)
    with torch.no_grad():
        _, warm = stack(inputs(5, F64, seed=9))
    stepper = stack.stepper(ROWS)
    assert all(
        torch.equal(a, b)
        for a, b in zip(leaves(stepper.state).values(), leaves(stack.init_state(ROWS)).values(), strict=True)
    )
    stepper.state = warm
    kept = stepper.state
    expected, _ = by_step(stack, x, None, warm)
    for t in range(3):
        assert_close(stepper(x[:, t]), expected[t])
    assert all(torch.equal(a, b) for a, b in zip(leaves(kept).values(), leaves(warm).values(), strict=True))
    stepper.state = kept
    assert_close(stepper(x[:, 0]), expected[0])


def test_setting_a_foreign_state_is_refused_and_changes_nothing() -> None:
    stack, x = make("A", "eager", F64), inputs(STEPS, F64)
    stepper = stack.stepper(ROWS)
    stepper(x[:, 0])
    before = stepper.state
    for other in (make("S", "eager", F64).init_state(ROWS), stack.init_state(ROWS + 1), {}):
        with pytest.raises(CortexStateError):
            stepper.state = other  # type: ignore[assignment]
    assert all(torch.equal(a, b) for a, b in zip(leaves(before).values(), leaves(stepper.state).values(), strict=True))


def test_sees_an_optimizer_step() -> None:
    stack, x = make(PATTERNS["AXMS"], "eager", F64), inputs(STEPS, F64)
    stepper = stack.stepper(ROWS)
    before = stepper(x[:, 0]).clone()
    state = stepper.state
    optimizer = torch.optim.AdamW(stack.parameters(), lr=0.1)
    stack(x)[0].square().sum().backward()
    optimizer.step()
    expected, _ = by_step(stack, x[:, 1:], None, state)
    assert_close(stepper(x[:, 1]), expected[0])
    fresh = stack.stepper(ROWS)
    assert not torch.allclose(fresh(x[:, 0]), before)


def test_survives_a_cast_and_keeps_its_state() -> None:
    stack, x = make(PATTERNS["AXMS"], "eager", F32), inputs(STEPS, F32)
    stepper = stack.stepper(ROWS)
    for t in range(3):
        stepper(x[:, t])
    held = stepper.state
    stack.double()
    moved = stepper.state
    assert all(v.dtype in (F64, torch.int64) for v in leaves(moved).values())
    assert all(
        torch.equal(a.to(b.dtype), b) for a, b in zip(leaves(held).values(), leaves(moved).values(), strict=True)
    )
    expected, _ = by_step(stack, x[:, 3:].double(), None, moved)
    y = stepper(x[:, 3].double())
    assert y.dtype == F64
    assert_close(y, expected[0])
    with pytest.raises(CortexInputError, match=r"x is torch\.float32, the parameters are torch\.float64"):
        stepper(x[:, 4])


def test_a_state_can_be_set_right_after_a_cast() -> None:
    stack, x = make("A", "eager", F32), inputs(STEPS, F64)
    stepper = stack.stepper(ROWS)
    stack.double()
    with torch.no_grad():
        _, warm = stack(x[:, :3])
    stepper.state = warm
    assert_close(stepper(x[:, 3]), by_step(stack, x[:, 3:4], None, warm)[0][0])


@pytest.mark.parametrize("batch", [0, -1])
def test_needs_a_row(batch: int) -> None:
    with pytest.raises(CortexInputError, match=f"at least one row, got batch={batch}"):
        make("A", "eager", F32).stepper(batch)


def test_refuses_what_does_not_fit() -> None:
    stepper, x = make("A", "eager", F32).stepper(ROWS), inputs(STEPS, F32)
    with pytest.raises(CortexInputError, match="x has 2 rows, this stepper was made for 3"):
        stepper(x[:2, 0])
    with pytest.raises(CortexInputError, match=r"step takes x \[B, 16\]; got shape \[3, 7, 16\]"):
        stepper(x)
    with pytest.raises(CortexInputError, match=r"x has width 8, this stack has d_hidden=16"):
        stepper(x[:, 0, : WIDTH // 2])
    with pytest.raises(CortexInputError, match=r"resets has shape \[4\]"):
        stepper(x[:, 0], resets=torch.zeros(ROWS + 1))


def test_two_steppers_do_not_share_a_state() -> None:
    stack, x = make("A", "eager", F64), inputs(STEPS, F64)
    one, two = stack.stepper(ROWS), stack.stepper(ROWS)
    one(x[:, 0])
    expected = stack.step(x[:, 1])[0]
    assert_close(two(x[:, 1]), expected)


def test_takes_no_gradient() -> None:
    stepper = make("A", "eager", F32).stepper(ROWS)
    assert not stepper(inputs(1, F32)[:, 0].requires_grad_()).requires_grad
    assert not any(v.requires_grad for v in leaves(stepper.state).values())


def test_memories_stay_where_they_are_on_a_cpu() -> None:
    """A matrix is written in place, a window slides in its buffer. Nobody sees it: not in x, not in a state that was
    read or set."""
    stack, x = make(PATTERNS["AXMS"], "eager", F64), inputs(STEPS, F64)
    stack.cpu()
    stepper = stack.stepper(ROWS)
    x = x.cpu()
    kept_x = x.clone()
    stepper(x[:, 0])
    state = stepper.state
    before = {path: leaf.clone() for path, leaf in leaves(state).items()}
    first = stepper(x[:, 1]).clone()
    stepper.state = state
    assert_close(stepper(x[:, 1]), first)
    places = where(stepper)
    stepper(x[:, 2])
    assert len(places) == 4
    assert where(stepper) == places
    assert torch.equal(x, kept_x)
    assert all(torch.equal(leaf, before[path]) for path, leaf in leaves(state).items())


def where(stepper: Stepper) -> list[int]:
    """The memory of AXMS's two matrices and two windows."""
    large = [leaf for leaf in stepper._leaves if leaf.shape[1:] in ((4, 8, 8), (5, WIDTH))]
    return [leaf.untyped_storage().data_ptr() for leaf in large]


def test_autograd_may_read_the_output() -> None:
    stepper, head = make("A", "eager", F64).stepper(ROWS), torch.nn.Linear(WIDTH, 1, device=DEVICE, dtype=F64)
    head(stepper(inputs(1, F64)[:, 0])).sum().backward()
    assert head.weight.grad is not None


def test_a_state_that_nothing_changes() -> None:
    """The identity hands its empty window on as it came: there is nothing to copy back."""
    stack, x = make("C(kernel_size=0)", "eager", F64), inputs(2, F64)
    stepper = stack.stepper(ROWS)
    for t in range(2):
        assert_close(stepper(x[:, t]), stack.step(x[:, t])[0])

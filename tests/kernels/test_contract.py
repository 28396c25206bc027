"""The contract of every op that carries state (spec, section 1), on every op."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ..tolerances import assert_close
from .cases import CASES, Case, Tensors

ROWS = 3
RESETS = ["none", "random", "first", "last", "all"]

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def draw_mask(kind: str, steps: int) -> Tensor | None:
    if kind == "none":
        return None
    if kind == "all":
        return torch.ones(ROWS, steps, dtype=torch.bool)
    mask = torch.zeros(ROWS, steps, dtype=torch.bool)
    if kind == "random":
        mask = torch.rand(ROWS, steps, generator=torch.Generator().manual_seed(steps)) < 0.2
    elif kind in ("first", "last"):
        mask[: ROWS - 1, 0 if kind == "first" else -1] = True
    return mask


def differentiate(y: Tensor, state: Tensors, leaves: list[Tensor]) -> list[Tensor]:
    """Gradients of a fixed random projection of outputs and float state."""
    total = torch.zeros((), dtype=torch.float64)
    for n, part in enumerate([y, *state]):
        if part.requires_grad:
            weight = torch.randn(part.shape, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
            total = total + (part.double() * weight).sum()
    grads = torch.autograd.grad(total, leaves, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True)]


def leaves_of(inputs: Tensors, state: Tensors, parameters: Tensors) -> list[Tensor]:
    return [x for x in (*inputs, *state, *parameters) if x.requires_grad]


def in_pieces(
    case: Case, inputs: Tensors, state: Tensors, parameters: Tensors, mask: Tensor | None, lengths: list[int]
) -> tuple[Tensor, Tensors]:
    outputs, start = [], 0
    for length in lengths:
        part = slice(start, start + length)
        piece = None if mask is None else mask[:, part]
        y, state = case.sequence(tuple(x[:, part] for x in inputs), state, parameters, piece)
        outputs.append(y)
        start += length
    return torch.cat(outputs, 1), state


def compare(actual: tuple[Tensor, Tensors], expected: tuple[Tensor, Tensors], dtype: torch.dtype | None = None) -> None:
    assert_close(actual[0], expected[0], dtype, "outputs")
    for n, (a, b) in enumerate(zip(actual[1], expected[1], strict=True)):
        assert_close(a, b, dtype if a.is_floating_point() else None, f"state {n}")


@every_case
@pytest.mark.parametrize("kind", RESETS)
@pytest.mark.parametrize("steps", [1, 7, 131])
def test_matches_reference(case: Case, kind: str, steps: int) -> None:
    drawn, mask = case.draw(ROWS, steps, torch.float64), draw_mask(kind, steps)
    actual, expected = case.sequence(*drawn, mask), case.reference(*drawn, mask)
    compare(actual, expected)
    leaves = leaves_of(*drawn)
    for a, b in zip(differentiate(*actual, leaves), differentiate(*expected, leaves), strict=True):
        assert_close(a, b, what="gradient")


@every_case
@pytest.mark.parametrize("kind", ["none", "random"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_lower_precision(case: Case, kind: str, dtype: torch.dtype) -> None:
    drawn, mask = case.draw(ROWS, 50, dtype), draw_mask(kind, 50)
    exact = tuple(tuple(x.double() if x.is_floating_point() else x for x in group) for group in drawn)
    actual = case.sequence(*drawn, mask)
    compare(actual, case.reference(*exact, mask), dtype)
    assert actual[0].dtype == dtype
    for n, (after, before) in enumerate(zip(actual[1], drawn[1], strict=True)):
        expected = torch.float32 if n < case.accumulators else before.dtype
        assert after.dtype == expected


@every_case
@pytest.mark.parametrize("kind", RESETS)
@pytest.mark.parametrize("lengths", [[9, 8], [1, 16], [16, 1], [1] * 17, [5, 1, 6, 5]], ids=str)
def test_cuts_change_nothing(case: Case, kind: str, lengths: list[int]) -> None:
    drawn, mask = case.draw(ROWS, 17, torch.float64), draw_mask(kind, 17)
    whole, pieces = case.sequence(*drawn, mask), in_pieces(case, *drawn, mask, lengths)
    compare(pieces, whole)
    if not case.detached:
        leaves = leaves_of(*drawn)
        for a, b in zip(differentiate(*pieces, leaves), differentiate(*whole, leaves), strict=True):
            assert_close(a, b, what="gradient")


@every_case
@pytest.mark.parametrize("kind", RESETS)
def test_steps_equal_sequence(case: Case, kind: str) -> None:
    inputs, state, parameters = drawn = case.draw(ROWS, 11, torch.float64)
    mask = draw_mask(kind, 11)
    whole = case.sequence(*drawn, mask)
    outputs = []
    for t in range(11):
        resets = None if mask is None else mask[:, t]
        y, state = case.step(tuple(x[:, t] for x in inputs), state, parameters, resets)
        outputs.append(y)
    stepped = torch.stack(outputs, 1), state
    compare(stepped, whole)
    if not case.detached:
        leaves = leaves_of(*drawn)
        for a, b in zip(differentiate(*stepped, leaves), differentiate(*whole, leaves), strict=True):
            assert_close(a, b, what="gradient")


@every_case
def test_step_gradients_equal_sequence_of_one(case: Case) -> None:
    inputs, state, parameters = drawn = case.draw(ROWS, 1, torch.float64)
    resets = torch.tensor([True, False, False])
    one = case.step(tuple(x[:, 0] for x in inputs), state, parameters, resets)
    sequence = case.sequence(*drawn, resets[:, None])
    leaves = leaves_of(*drawn)
    stepped = differentiate(one[0][:, None], one[1], leaves)
    for a, b in zip(stepped, differentiate(*sequence, leaves), strict=True):
        assert_close(a, b, what="gradient")


@every_case
def test_a_mask_of_false_is_no_mask(case: Case) -> None:
    drawn = case.draw(ROWS, 9, torch.float64)
    compare(case.sequence(*drawn, torch.zeros(ROWS, 9, dtype=torch.bool)), case.sequence(*drawn, None))


@every_case
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("steps", [16, 90])
def test_nothing_survives_a_reset(case: Case, poison: float, steps: int) -> None:
    """Rows are poisoned up to their reset, in state and inputs: from it on they are as if freshly started."""
    at = [0, 5, steps - 1]
    clean, state, parameters = case.draw(ROWS, steps, torch.float64)
    mask = torch.zeros(ROWS, steps, dtype=torch.bool)
    bad = tuple(x.detach().clone() for x in clean)
    for row, t in enumerate(at):
        mask[row, t] = True
        for x in bad:
            x[row, :t] = poison
    bad = tuple(x.requires_grad_() for x in bad)
    bad_state = tuple(torch.full_like(s, poison) if s.is_floating_point() else s for s in state)
    y, after = case.sequence(bad, bad_state, parameters, mask)
    grads = torch.autograd.grad(sum(y[row, t:].sum() for row, t in enumerate(at)), bad, allow_unused=True)
    for row, t in enumerate(at):
        fresh = tuple(x[row : row + 1, t:] for x in clean)
        initial = case.initial(tuple(s[row : row + 1] for s in state))
        expected = case.sequence(fresh, initial, parameters, None)
        compare((y[row : row + 1, t:], tuple(s[row : row + 1] for s in after)), expected)
        wanted = torch.autograd.grad(expected[0].sum(), clean, allow_unused=True)
        for a, b in zip(grads, wanted, strict=True):
            if b is not None:
                assert_close(a[row, t:], b[row, t:], what="gradient")
                assert (a[row, :t] == 0).all(), "a gradient crossed the reset"


@every_case
def test_a_poisoned_state_which_is_reset_in_steps(case: Case) -> None:
    inputs, state, parameters = case.draw(ROWS, 1, torch.float64)
    inputs = tuple(x[:, 0] for x in inputs)
    bad = tuple(torch.full_like(s, float("nan")) if s.is_floating_point() else s for s in state)
    actual = case.step(inputs, bad, parameters, torch.ones(ROWS, dtype=torch.bool))
    compare(actual, case.step(inputs, case.initial(state), parameters, None))


@every_case
def test_nan_shows_where_it_is_seen_and_not_before(case: Case) -> None:
    """With a mask, whatever it says: steps before a NaN do not see it, and it is not hidden from its own step."""
    inputs, state, parameters = case.draw(ROWS, 20, torch.float64)
    bad = tuple(x.detach().clone() for x in inputs)
    for x in bad:
        x[:, 12] = float("nan")
    mask = draw_mask("first", 20)
    expected, actual = case.sequence(inputs, state, parameters, mask), case.sequence(bad, state, parameters, mask)
    assert_close(actual[0][:, :12], expected[0][:, :12])
    assert actual[0][:, 12].isnan().all()


@every_case
def test_inputs_are_not_written(case: Case) -> None:
    drawn, mask = case.draw(ROWS, 9, torch.float64), draw_mask("random", 9)
    before = [x.detach().clone() for group in drawn for x in group]
    case.sequence(*drawn, mask)
    case.step(tuple(x[:, 0] for x in drawn[0]), *drawn[1:], mask[:, 0])
    assert all(torch.equal(a, b) for a, b in zip(before, [x for group in drawn for x in group], strict=True))


@every_case
@pytest.mark.parametrize("kind", ["none", "random"])
def test_compiles_as_one_graph(case: Case, kind: str) -> None:
    torch._dynamo.reset()
    drawn, mask = case.draw(ROWS, 19, torch.float64), draw_mask(kind, 19)
    eager = case.sequence(*drawn, mask)
    compiled = torch.compile(case.sequence, fullgraph=True, backend="aot_eager")(*drawn, mask)
    compare(compiled, eager)
    leaves = leaves_of(*drawn)
    for a, b in zip(differentiate(*compiled, leaves), differentiate(*eager, leaves), strict=True):
        assert_close(a, b, what="gradient")


@every_case
def test_step_compiles_as_one_graph(case: Case) -> None:
    torch._dynamo.reset()
    inputs, state, parameters = case.draw(ROWS, 1, torch.float64)
    arguments = (tuple(x[:, 0] for x in inputs), state, parameters, torch.tensor([True, False, False]))
    compare(torch.compile(case.step, fullgraph=True, backend="aot_eager")(*arguments), case.step(*arguments))

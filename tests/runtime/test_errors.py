"""Bad input: one clear error each, which names the thing, what was got, what was expected, and how to mend it."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

import cortexc
from cortexc import CortexInputError, CortexSpecError, CortexStateError, CortexSyntaxError
from cortexc.runtime import CompiledStack

WIDTH, ROWS, STEPS = 16, 3, 4
HC1 = ("ColumnScaffold_0", "expert_PostUpGatedScaffold_0", "AxonCore", "hc1")


@cache
def stack() -> CompiledStack:
    return cortexc.compile("A", d_hidden=WIDTH, backend="eager", dtype=torch.float32)


def x(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.zeros(shape or (ROWS, STEPS, WIDTH), dtype=dtype, device=device)


def says(caught: pytest.ExceptionInfo[Exception], *words: str) -> None:
    missing = [w for w in words if w not in str(caught.value)]
    assert not missing, f"{missing} not in {caught.value}"


PATTERNS = {
    "unknown token": ("AQ", CortexSyntaxError, ["unknown expert token `Q`", "1:2", "known tokens: A", "help: "]),
    "bad number": ("X(mem_len=-2)", CortexSyntaxError, ["mem_len", "got `-2`", "greater than or equal to 0", "1:11"]),
    "no number": ("X(mem_len=abc)", CortexSyntaxError, ["mem_len", "got `abc`", "integer", "default is `128`"]),
    "no repeat": ("A x0", CortexSyntaxError, ["repeat counts from 1", "1:3", "write `x1` or more"]),
    "heads": ("S(num_heads=3)", CortexSpecError, ["S at 1:1", "16", "num_heads 3", "nearest: 15, 18"]),
    "unclosed": ("X(mem_len=3", CortexSyntaxError, ["1:"]),
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_patterns(kind: str) -> None:
    pattern, error, words = PATTERNS[kind]
    with pytest.raises(error) as caught:
        cortexc.compile(pattern, d_hidden=WIDTH)
    says(caught, *words, "^")


@pytest.mark.parametrize("width", [0, -4])
def test_width_of_the_stack(width: int) -> None:
    with pytest.raises(CortexSpecError) as caught:
        cortexc.compile("A", d_hidden=width)
    says(caught, "d_hidden must be a positive int", f"got {width}")


def test_backend() -> None:
    expected = ["backend is 'cuda'", "expected one of reference, eager, inductor, triton, auto"]
    for make in (lambda: cortexc.compile("A", d_hidden=WIDTH, backend="cuda"), lambda: _load(backend="cuda")):
        with pytest.raises(ValueError, match="backend") as caught:
            make()
        says(caught, *expected)


@pytest.mark.parametrize("dtype", ["int32", "float99", "Tensor", torch.int64, torch.complex64])
def test_dtype_of_the_stack(dtype: object) -> None:
    for make in (lambda: cortexc.compile("A", d_hidden=WIDTH, dtype=dtype), lambda: _load(dtype=dtype)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="dtype is") as caught:
            make()
        says(caught, str(dtype).removeprefix("torch."), "float32", "bfloat16")


def _load(**overrides: object) -> CompiledStack:
    return cortexc.load(stack().folder, **overrides)  # type: ignore[arg-type]


INPUTS = {
    "no tensor": (lambda: [1.0], ["x is a list", "tensor [B, T, 16] or [B, 16]"]),
    "rank 1": (lambda: x(16), ["x has shape [16]", "[B, T, 16] for a sequence or [B, 16] for a step"]),
    "rank 4": (lambda: x(1, 2, 3, 16), ["x has shape [1, 2, 3, 16]", "[B, T, 16]"]),
    "width": (lambda: x(ROWS, STEPS, 8), ["x has width 8", "d_hidden=16", "[3, 4, 8]"]),
    "width before time": (lambda: x(ROWS, 16, STEPS), ["x has width 4", "did you mean x.transpose(1, 2)?"]),
    "no steps": (lambda: x(ROWS, 0, 16), ["no steps", "[3, 0, 16]", "at least one"]),
    "dtype": (lambda: x(dtype=torch.float64), ["x is torch.float64", "torch.float32", "x.to(torch.float32)"]),
    "whole numbers": (lambda: x(dtype=torch.int64), ["x is torch.int64", "torch.float32"]),
    "device": (lambda: x(device="meta"), ["x is on meta", "the parameters are on cpu", "x.to('cpu')"]),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_x(kind: str) -> None:
    given, words = INPUTS[kind]
    with pytest.raises(CortexInputError) as caught:
        stack()(given())
    says(caught, *words)


def test_whole_numbers_are_refused_under_autocast_too() -> None:
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(CortexInputError, match=r"x is torch\.int64"):
        stack()(x(dtype=torch.int64))


def test_a_sequence_given_to_step() -> None:
    with pytest.raises(CortexInputError) as caught:
        stack().step(x())
    says(caught, "step takes x [B, 16]", "[3, 4, 16]", "call the stack itself: stack(x, state)")


RESETS = {
    "no tensor": (lambda: [True], ["resets is a list", "bool tensor"]),
    "steps": (lambda: torch.zeros(ROWS, STEPS + 1), ["[3, 5]", "[3, 4, 16]", "[3, 4] or [3]"]),
    "rows": (lambda: torch.zeros(ROWS + 1), ["[4]", "[3, 4] or [3]"]),
    "time first": (lambda: torch.zeros(STEPS, ROWS), ["[4, 3]", "[3, 4] or [3]"]),
    "rank": (lambda: torch.zeros(ROWS, STEPS, 1), ["[3, 4, 1]"]),
    "one column": (lambda: torch.zeros(ROWS, 1), ["[3, 1]", "[3, 4] or [3]"]),
    "a number": (lambda: torch.zeros(()), ["resets has shape []"]),
    "values": (lambda: torch.full((ROWS, STEPS), 0.5), ["resets holds 0.5", "bool, or 0 and 1"]),
    "twos": (lambda: torch.full((ROWS,), 2), ["resets holds 2", "bool, or 0 and 1"]),
    "nan": (lambda: torch.full((ROWS,), float("nan")), ["resets holds nan"]),
    "device": (lambda: torch.zeros(ROWS, device="meta"), ["resets is on meta", "x on cpu", "resets.to('cpu')"]),
}


@pytest.mark.parametrize("kind", RESETS)
def test_resets(kind: str) -> None:
    given, words = RESETS[kind]
    with pytest.raises(CortexInputError) as caught:
        stack()(x(), resets=given())
    says(caught, *words)


def test_resets_of_a_step() -> None:
    with pytest.raises(CortexInputError) as caught:
        stack().step(x(ROWS, WIDTH), resets=torch.zeros(ROWS, STEPS))
    says(caught, "[3, 4]", "[3] or [3, 1]")


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.float32, torch.bfloat16], ids=str)
def test_zero_and_one_of_any_dtype_are_a_mask(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(ROWS, STEPS, WIDTH, generator=generator)
    mask = torch.rand(ROWS, STEPS, generator=generator) < 0.4
    assert torch.equal(stack()(given, resets=mask.to(dtype))[0], stack()(given, resets=mask)[0])
    one = mask[:, 0]
    for shape in ((ROWS,), (ROWS, 1)):
        y, _ = stack().step(given[:, 0], resets=one.to(dtype).view(shape))
        assert torch.equal(y, stack().step(given[:, 0], resets=one)[0])


def state() -> TensorDict:
    return stack().init_state(ROWS)


def without(key: tuple[str, ...]) -> TensorDict:
    made = state()
    del made[key]
    return made


def having(key: tuple[str, ...], leaf: Tensor) -> TensorDict:
    made = state()
    made[key] = leaf
    return made


AT = "/".join(HC1[:-1])
STATES = {
    "a dict": (lambda: {}, ["state is a dict", "TensorDict as this stack returns it", "None"]),
    "a tensor": (lambda: x(ROWS, WIDTH), ["state is a Tensor"]),
    "a tuple": (lambda: tuple(state().values(True, True)), ["state is a tuple"]),
    "missing": (lambda: without(HC1), [f"at {AT}", "missing hc1", "another stack", "or None to start"]),
    "missing core": (lambda: without(HC1[:1]).set("x", x(ROWS)), ["missing ColumnScaffold_0", "surplus x"]),
    "surplus": (lambda: having((*HC1[:-1], "hc3"), x(ROWS, WIDTH)), [f"at {AT}", "surplus hc3"]),
    "surplus layer": (lambda: having(("ColumnScaffold_1",), x(ROWS)), ["the top level", "surplus ColumnScaffold_1"]),
    "shape": (lambda: having(HC1, x(ROWS, 8)), [f"{AT}/hc1 has shape [3, 8]", "needs [3, 16]"]),
    "rank": (lambda: having(HC1, x(ROWS)), [f"{AT}/hc1 has shape [3]", "needs [3, 16]"]),
    "dtype": (lambda: having(HC1, x(ROWS, WIDTH).bfloat16()), [f"{AT}/hc1 is torch.bfloat16", "torch.float32"]),
    "whole": (lambda: having(HC1, x(ROWS, WIDTH).long()), [f"{AT}/hc1 is torch.int64", "expected torch.float32"]),
    "batch": (lambda: stack().init_state(5), ["[5, 16]", "needs [3, 16]", "the state has 5 rows, x has 3"]),
    "device": (lambda: stack().init_state(ROWS, device="meta"), ["is on meta, x on cpu", "state.to('cpu')"]),
    "a leaf for a level": (lambda: having(HC1[:-1], x(ROWS)), [f"{AT} is a tensor", "another stack"]),
    "a level for a leaf": (lambda: having(HC1, TensorDict({"a": x(ROWS)}, [ROWS])), ["hc1 is a nested state"]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", STATES)
def test_state(kind: str) -> None:
    given, words = STATES[kind]
    calls = {
        "sequence": lambda s: stack()(x(), s),
        "step": lambda s: stack().step(x(ROWS, WIDTH), s),
        "reset": lambda s: stack().reset_state(s, torch.tensor([True, False, False])),
    }
    for name, call in calls.items():
        if (name, kind) == ("reset", "batch"):
            continue  # there the mask is the one that does not fit
        with pytest.raises(CortexStateError) as caught:
            call(given())
        says(caught, *words)


@pytest.mark.parametrize("other", ["X", "AA", "A x2", "A / X", "S"])
def test_state_of_another_stack(other: str) -> None:
    theirs = cortexc.compile(other, d_hidden=WIDTH, backend="eager").init_state(ROWS)
    with pytest.raises(CortexStateError) as caught:
        stack()(x(), theirs)
    says(caught, "belongs to another stack", "pass a state that this stack returned")


def test_state_of_another_width() -> None:
    theirs = cortexc.compile("A", d_hidden=32, backend="eager").init_state(ROWS)
    with pytest.raises(CortexStateError, match=r"AxonCore/hc1 has shape \[3, 32\]; this call needs \[3, 16\]"):
        stack()(x(), theirs)


def test_reset_state_names_a_bad_mask() -> None:
    with pytest.raises(CortexInputError, match=r"resets has shape \[4\].*\[3\]"):
        stack().reset_state(state(), torch.zeros(4, dtype=torch.bool))
    with pytest.raises(CortexInputError, match=r"resets is None; reset_state takes a bool tensor \[B\]"):
        stack().reset_state(state(), None)  # type: ignore[arg-type]


def test_every_error_is_a_value_error_too() -> None:
    """So that callers who know nothing of cortexc can catch them."""
    assert issubclass(CortexInputError, ValueError) and issubclass(CortexStateError, ValueError)


def test_a_refused_call_changes_nothing() -> None:
    before = state()
    with pytest.raises(CortexStateError):
        stack()(x(), before[:2])
    y, _ = stack()(x(), before)
    assert torch.equal(y, stack()(x())[0])

"""The contract of every stack (spec §1), as a matrix of tokens × backends × dtypes × cuts × resets. Covers U2-U8,
U15, W4."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from _pytest.mark import ParameterSet
from torch import Tensor

from ..tolerances import TOLERANCES, assert_close
from .contract import (
    CUTS,
    DEVICE,
    GPU,
    MASKS,
    PATTERNS,
    ROWS,
    WIDTH,
    check_gradients,
    inputs,
    leaves,
    make,
    mask,
    pieces,
    run,
)

STEPS = 13
F32, F64 = torch.float32, torch.float64

# float64 has no Triton kernels: the triton backend is checked in float32 alone, by tests of its own.
TORCH = [("reference", F64), ("eager", F64), ("eager", F32)]
COMPILED = [("eager", F64), ("eager", F32), ("triton", F32)]


def on_kernels(names: Iterable[str], kinds: Iterable[str], few: tuple[str, ...]) -> list[ParameterSet]:
    """(part, cut or mask) for the triton backend. The interpreter is slow, so without a GPU most of them are long."""
    return [
        pytest.param(name, kind, marks=[] if GPU or kind in few else [pytest.mark.long])
        for name in names
        for kind in kinds
    ]


def ids(pair: tuple[str, torch.dtype]) -> str:
    return f"{pair[0]}-{str(pair[1]).removeprefix('torch.')}"


def oracle(pattern: str, kind: str, steps: int = STEPS) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs and final state of the reference backend in float64, over the whole sequence at once."""
    y, state = run(make(pattern, "reference", F64), inputs(steps, F64), mask(kind, steps), [steps])
    return y, leaves(state)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("backend", TORCH, ids=ids)
@pytest.mark.parametrize("cut", CUTS)
def test_one_function_however_cut(name: str, backend: tuple[str, torch.dtype], cut: str) -> None:
    """Outputs and final state do not depend on where a sequence is cut, nor on the backend; with resets inside."""
    check_run(name, *backend, "random", cut)


@pytest.mark.parametrize(("name", "cut"), on_kernels(PATTERNS, CUTS, ("random",)))
def test_one_function_on_kernels(name: str, cut: str) -> None:
    """The same with the Triton kernels."""
    check_run(name, "triton", F32, "random", cut)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("backend", TORCH[1:], ids=ids)
@pytest.mark.parametrize("kind", MASKS)
def test_resets(name: str, backend: tuple[str, torch.dtype], kind: str) -> None:
    """Every kind of mask gives what the reference gives."""
    check_run(name, *backend, kind, "whole")


@pytest.mark.parametrize(("name", "kind"), on_kernels(PATTERNS, MASKS, ("last",)))
def test_resets_on_kernels(name: str, kind: str) -> None:
    """The same with the Triton kernels."""
    check_run(name, "triton", F32, kind, "whole")


def check_run(name: str, kind: str, dtype: torch.dtype, resets: str, cut: str) -> None:
    """Outputs and final state of a run against the reference's."""
    stack = make(PATTERNS[name], kind, dtype)
    expected, state = oracle(PATTERNS[name], resets)
    with torch.no_grad():
        y, after = run(stack, inputs(STEPS, dtype), mask(resets, STEPS), pieces(cut, STEPS), by_step=cut == "steps")
    assert_close(y, expected.to(dtype), dtype, "y")
    for path, leaf in leaves(after).items():
        assert_close(leaf, state[path].to(leaf.dtype), dtype if leaf.is_floating_point() else None, path)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("backend", COMPILED, ids=ids)
def test_gradients(name: str, backend: tuple[str, torch.dtype]) -> None:
    """Gradients to x, every parameter and the incoming state equal the reference's, with resets inside the sequence."""
    check_gradients(make(PATTERNS[name], *backend), make(PATTERNS[name], "reference", F64), STEPS, backend[1])


@pytest.mark.parametrize("name", PATTERNS)
def test_nothing_survives_a_reset(name: str) -> None:
    """On torch, in float64."""
    check_nothing_survives(name, "eager", F64)


@pytest.mark.parametrize(("name", "kind"), on_kernels(PATTERNS, ["triton"], ()))
def test_nothing_survives_a_reset_on_kernels(name: str, kind: str) -> None:
    """On the Triton kernels, in float32."""
    check_nothing_survives(name, kind, F32)


def check_nothing_survives(name: str, kind: str, dtype: torch.dtype) -> None:
    """NaN before a reset reaches no output, no state and no gradient after it; rows do not touch each other."""
    stack = make(PATTERNS[name], kind, dtype)
    clean = inputs(STEPS, dtype)
    dirty = clean.clone()
    dirty[0, 4] = float("nan")
    m = torch.zeros(ROWS, STEPS, dtype=torch.bool, device=DEVICE)
    m[0, 6] = True
    y, state = stack(dirty, resets=m)
    expected, expected_state = stack(clean, resets=m)
    assert torch.isnan(y[0, 4]).any()
    assert torch.equal(y[0, 6:], expected[0, 6:]) and torch.equal(y[1:], expected[1:])
    for path, leaf in leaves(state).items():
        assert torch.equal(leaf, leaves(expected_state)[path]), path
    x = dirty.clone().requires_grad_()
    y, _ = stack(x, resets=m)
    (g,) = torch.autograd.grad(y[0, 6:].sum(), x)
    assert torch.isfinite(g[0, 6:]).all()


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("kind", ["reference", "eager"])
def test_reset_is_a_fresh_start(name: str, kind: str) -> None:
    """A reset row behaves as a fresh one; reset_state is a reset; None, an empty and an initial state are one."""
    from tensordict import TensorDict

    stack = make(PATTERNS[name], kind, F64)
    x = inputs(STEPS, F64)
    _, warm = stack(inputs(7, F64, seed=5))
    first = torch.tensor([True, False, True], device=DEVICE)
    m = torch.zeros(ROWS, STEPS, dtype=torch.bool, device=DEVICE)
    m[:, 0] = first
    expected, expected_state = stack(x, warm, resets=m)
    for y, state in (stack(x, warm, resets=first), stack(x, stack.reset_state(warm, first))):
        assert_close(y, expected)
        for path, leaf in leaves(state).items():
            assert_close(leaf, leaves(expected_state)[path], what=path)
    fresh, _ = stack(x)
    assert_close(fresh[first], expected[first])
    assert torch.equal(fresh, stack(x, TensorDict({}, batch_size=[ROWS]))[0])
    assert torch.equal(fresh, stack(x, stack.init_state(ROWS))[0])


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("kind", ["reference", "eager"])
def test_causal_and_pure(name: str, kind: str) -> None:
    """y_t sees x_≤t only; the caller's tensors are never written; the same call gives the same answer."""
    stack = make(PATTERNS[name], kind, F64)
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    _, state = stack(inputs(7, F64, seed=5))
    before = [t.clone() for t in (x, m, *leaves(state).values())]
    y, _ = stack(x, state, resets=m)
    changed = x.clone()
    changed[:, 8:] += 1.0
    z, _ = stack(changed, state, resets=m)
    assert torch.equal(y[:, :8], z[:, :8]) and not torch.equal(y[:, 8:], z[:, 8:])
    stack.step(x[:, 0], state, resets=m[:, 0])
    stack.reset_state(state, m[:, 0])
    assert all(torch.equal(a, b) for a, b in zip(before, (x, m, *leaves(state).values()), strict=True))
    assert torch.equal(stack(x, state, resets=m)[0], y)


@pytest.mark.parametrize("name", PATTERNS)
def test_rows_are_independent(name: str) -> None:
    """A state can be gathered and scattered by row."""
    stack = make(PATTERNS[name], "eager", F64)
    x = inputs(STEPS, F64)
    _, state = stack(x[:, :6])
    order = torch.tensor([2, 0])
    z, _ = stack(x[order, 6:], state[order])
    expected, _ = stack(x)
    assert_close(z, expected[order, 6:], F64)


def test_state_layout() -> None:
    """U9-U12: a core's state is flat, nested under core, expert and layer; every leaf is there from the start."""
    stack = make(PATTERNS["AXMS"], "eager", F32)
    state = stack.init_state(ROWS)
    assert state.batch_size == torch.Size([ROWS])
    assert list(state.keys()) == ["ColumnScaffold_0", "ColumnScaffold_1"]
    assert list(state["ColumnScaffold_0"].keys()) == [
        "expert_PostUpGatedScaffold_0",
        "expert_PostUpGatedScaffold_1",
        "expert_PreUpGatedScaffold_2",
        "expert_PostUpGatedScaffold_3",
    ]
    column = state["ColumnScaffold_0"]
    axon = column["expert_PostUpGatedScaffold_0", "AxonCore"]
    assert {"hc1", "hc2", "E_nu_c1", "E_th_c2", "E_w1_c1", "E_w2_c2"} < set(axon.keys()) and len(axon.keys()) == 10
    assert axon["hc1"].shape == (ROWS, WIDTH)
    xl = column["expert_PostUpGatedScaffold_1", "XLCore"]
    assert xl["mem"].shape == (ROWS, 5, WIDTH) and xl["mem_fill"].dtype == torch.int64
    mlstm = column["expert_PreUpGatedScaffold_2", "mLSTMCore"]
    assert {k: tuple(v.shape) for k, v in mlstm.items()} == {
        "conv": (ROWS, 4, 2 * WIDTH),
        "c": (ROWS, 4, 8, 8),
        "n": (ROWS, 4, 8, 1),
        "m": (ROWS, 4, 1, 1),
    }
    _, after = stack(inputs(3, F32))
    assert {k: (v.shape, v.dtype) for k, v in leaves(after).items()} == {
        k: (v.shape, v.dtype) for k, v in leaves(state).items()
    }


@pytest.mark.parametrize("name", PATTERNS)
def test_bfloat16_carries_float32(name: str) -> None:
    """Precision: accumulators stay float32 and counters int64 under bf16 parameters; results stay near float32's."""
    stack = make(PATTERNS[name], "eager", F32)
    expected, _ = stack(inputs(STEPS, F32), resets=mask("random", STEPS))
    with torch.autocast(DEVICE, torch.bfloat16):
        y, state = stack(inputs(STEPS, F32), resets=mask("random", STEPS))
    narrow = make(PATTERNS[name], "eager", F32).bfloat16()
    z, narrow_state = narrow(inputs(STEPS, torch.bfloat16), resets=mask("random", STEPS))
    assert z.dtype == torch.bfloat16
    for got in (y, z):
        assert ((got.float() - expected).norm() / expected.norm()).item() < 3 * TOLERANCES[torch.bfloat16]
    for found in (state, narrow_state):
        for path, leaf in leaves(found).items():
            word = path.rpartition("/")[2]
            if word.startswith(("hc", "E_")) or word in ("c", "n", "m", "y"):
                assert leaf.dtype == torch.float32, path
            elif word == "mem_fill":
                assert leaf.dtype == torch.int64

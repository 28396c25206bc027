"""The rules of the contract (spec §1) for the four main tokens and a stack of them; ``test_parts.py`` has the other
parts, ``test_matrix.py`` cuts and masks of all. Covers U2-U12, W4."""

from __future__ import annotations

import pytest
import torch

from ..tolerances import TOLERANCES, assert_close
from .contract import DEVICE, GPU, PATTERNS, ROWS, WIDTH, check_gradients, inputs, leaves, make, mask

STEPS = 13
F32, F64 = torch.float32, torch.float64

COMPILED = [
    pytest.param("eager", F64, id="eager-float64"),
    pytest.param("eager", F32, id="eager-float32"),
    pytest.param("triton", F32, id="triton-float32"),
    pytest.param("inductor", F64, id="inductor-float64", marks=[pytest.mark.long]),
]


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize(("backend", "dtype"), COMPILED)
def test_gradients(name: str, backend: str, dtype: torch.dtype) -> None:
    """Gradients to x, every parameter and the incoming state equal the reference's, with resets inside the sequence."""
    check_gradients(make(PATTERNS[name], backend, dtype), make(PATTERNS[name], "reference", F64), STEPS, dtype)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("eager", F64),
        pytest.param("triton", F32, marks=[] if GPU else [pytest.mark.long]),
        pytest.param("inductor", F64, marks=[pytest.mark.long]),
    ],
)
def test_nothing_survives_a_reset(name: str, kind: str, dtype: torch.dtype) -> None:
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

"""The rules of the contract (spec §1) for every part: gradients, NaN before a reset, fresh states, purity, causality,
rows, layouts of states, narrow parameters. ``test_matrix.py`` has its first two rules, cut by cut and mask by mask.
Covers U9-U12, C1, C4-C7, S1-S9, X5-X10."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from cortexc.runtime import CompiledStack

from ..tolerances import TOLERANCES, assert_close
from .contract import DEVICE, GPU, ROWS, WIDTH, check_gradients, inputs, leaves, make, mask, run
from .parts import PARTS, STEPS, part

F32, F64 = torch.float32, torch.float64

# The interpreter takes minutes over all parts: without a GPU the kernels' share is in the long tier.
KERNELS = pytest.param(("triton", F32), marks=[] if GPU else [pytest.mark.long])
COMPILED = [("eager", F64), KERNELS]


def ids(pair: tuple[str, torch.dtype]) -> str:
    return f"{pair[0]}-{str(pair[1]).removeprefix('torch.')}"


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("backend", COMPILED, ids=ids)
def test_gradients(name: str, backend: tuple[str, torch.dtype]) -> None:
    """Gradients to x, every parameter and the incoming state equal the reference's, with resets inside."""
    check_gradients(part(name, *backend), part(name, "reference", F64), STEPS, backend[1])


@pytest.mark.parametrize("name", PARTS)
def test_nothing_survives_a_reset(name: str) -> None:
    """NaN before a reset reaches no output, state or gradient after it, in a call and across calls; rows stay apart."""
    stack = part(name, "eager", F64)
    clean = inputs(STEPS, F64)
    dirty = clean.clone()
    dirty[0, 4] = float("nan")
    m = torch.zeros(ROWS, STEPS, dtype=torch.bool, device=DEVICE)
    m[0, 6] = True
    y, state = stack(dirty, resets=m)
    expected, expected_state = stack(clean, resets=m)
    assert torch.isnan(y[0, 4]).any()
    assert_close(y[0, 6:], expected[0, 6:], F64)
    assert_close(y[1:], expected[1:], F64)
    for path, leaf in leaves(state).items():
        assert_close(leaf, leaves(expected_state)[path], leaf.dtype, path)
    x = dirty.clone().requires_grad_()
    (g,) = torch.autograd.grad(stack(x, resets=m)[0][0, 6:].sum(), x)
    assert torch.isfinite(g[0, 6:]).all()

    with torch.no_grad():
        _, poisoned = stack(dirty[:, :5])
    first = torch.tensor([True, False, False], device=DEVICE)
    y, _ = stack(clean[:, 5:], poisoned, resets=first)
    grads = torch.autograd.grad(y.sum(), list(stack.parameters()), allow_unused=True) if _trainable(stack) else ()
    assert torch.isfinite(y).all() and all(g is None or torch.isfinite(g).all() for g in grads)


def _trainable(stack: CompiledStack) -> bool:
    return any(True for _ in stack.parameters())


@pytest.mark.parametrize("name", PARTS)
def test_fresh_pure_and_causal(name: str) -> None:
    """A reset row is a fresh one, None and an empty state are the initial one; nothing of the caller's is written; y_t
    sees x_≤t only; rows can be gathered."""
    stack = part(name, "eager", F64)
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    with torch.no_grad():
        _, warm = stack(inputs(7, F64, seed=5))
        before = [t.clone() for t in (x, m, *leaves(warm).values())]  # type: ignore[union-attr]
        y, _ = stack(x, warm, resets=m)
        stack.step(x[:, 0], warm, resets=m[:, 0])  # type: ignore[index]
        first = torch.tensor([True, False, True], device=DEVICE)
        reset, reset_state = stack(x, warm, resets=first)
        again, again_state = stack(x, stack.reset_state(warm, first))
        fresh, _ = stack(x)
        changed = x.clone()
        changed[:, 8:] += 1.0
        other, _ = stack(changed, warm, resets=m)
        order = torch.tensor([2, 0])
        gathered, _ = stack(x[order], warm[order], resets=m[order])  # type: ignore[index]
    assert all(torch.equal(a, b) for a, b in zip(before, (x, m, *leaves(warm).values()), strict=True))
    assert_close(reset, again, F64)
    for path, leaf in leaves(reset_state).items():
        assert_close(leaf, leaves(again_state)[path], leaf.dtype, path)
    assert_close(reset[first], fresh[first], F64)
    assert torch.equal(fresh, stack(x, TensorDict({}, batch_size=[ROWS]))[0])
    assert torch.equal(fresh, stack(x, stack.init_state(ROWS))[0])
    assert torch.equal(y[:, :8], other[:, :8]) and not torch.equal(y[:, 8:], other[:, 8:])
    assert_close(gathered, y[order], F64)


def paths(name: str) -> dict[str, tuple[int, ...]]:
    """Leaves of a fresh state as they are and stay: path -> shape of a row."""
    stack = part(name, "eager", F64)
    state = stack.init_state(ROWS)
    _, after = stack(inputs(2, F64), state)
    shapes = {path: (tuple(leaf.shape), leaf.dtype) for path, leaf in leaves(state).items()}
    assert shapes == {path: (tuple(leaf.shape), leaf.dtype) for path, leaf in leaves(after).items()}
    return {path: shape[1:] for path, (shape, _) in shapes.items()}


def test_state_layout() -> None:
    """U9-U12, X8-X10: names and shapes of what is carried."""
    pass_through = "ColumnScaffold_0/expert_PassThroughScaffold_0"
    assert paths("L two layers") == {f"{pass_through}/LSTMCore/{n}": (2, WIDTH) for n in "ch"}
    assert paths("L projected")[f"{pass_through}/LSTMCore/h"] == (2, 6)
    assert paths("C mixing") == {f"{pass_through}/CausalConv1dCore/conv": (3, WIDTH)}
    assert paths("C identity") == {}
    gated = "ColumnScaffold_0/expert_PostUpGatedScaffold_0"
    assert paths("Ag") == {
        f"{gated}/AGaLiTeCore/{n}": s
        for n, s in {"s": (8, 6), "tick": (), "tilde_k": (3, 8, 6), "tilde_v": (3, 8, 2)}.items()
    }
    tick = leaves(part("Ag", "eager", F64).init_state(ROWS))[f"{gated}/AGaLiTeCore/tick"]
    assert tick.dtype == torch.int64 and tick.tolist() == [1] * ROWS
    full = paths("A full rank")
    assert full[f"{gated}/AxonCore/E_w2_c1"] == (WIDTH, WIDTH) and full[f"{gated}/AxonCore/E_th_c1"] == (WIDTH,)
    traces = [f"E_{p}_{c}" for p in ("nu", "th", "w1", "w2") for c in ("c1", "c2")]
    groups = {
        ("M^", "PreUpGatedScaffold_0/mLSTMCore"): ("mlstm/igate", "mlstm/fgate", "mlstm_qkv/qk", "mlstm_qkv/v"),
        ("S^", "PostUpGatedScaffold_0/sLSTMCore"): ("slstm/if_fused", "slstm/zo_fused"),
        ("X^", "PostUpGatedScaffold_0/XLCore"): ("xl_qkv/q", "xl_qkv/k", "xl_qkv/v"),
    }
    for (name, core), layers in groups.items():
        found = {p for p in paths(name) if p.count("/") > 3 - ("ColumnScaffold" not in p)}
        found = {p for p in found if p.rpartition("/")[2].startswith(("hc", "E_"))}
        prefix = f"ColumnScaffold_0/expert_{core}"
        assert found == {f"{prefix}/{layer}/{leaf}" for layer in layers for leaf in ("hc1", "hc2", *traces)}
    assert paths("X^")[f"{gated}/XLCore/mem_k"] == (5, WIDTH)
    assert set(paths("adapter")) == {"AdapterScaffold_0/wrapped/LSTMCore/h", "AdapterScaffold_0/wrapped/LSTMCore/c"}
    inner = "AdapterScaffold_0/wrapped/expert_ColumnScaffold_1/expert_PreUpScaffold_1/AxonCore/hc1"
    assert paths("nested columns")[inner] == (2 * WIDTH,)
    pair = {f"{pass_through}/RecurrenceCore/{n}" for n in ("re", "im")}
    assert {p for p in paths("lru") if "/E_" not in p} == pair
    traces = {f"E_{p}_log_{s}" for p in ("nu", "theta", "gamma") for s in ("re", "im")}
    assert {p.rpartition("/")[2] for p in paths("lru") if "/E_" in p} == traces
    assert set(paths("minlstm")) == {f"{pass_through}/RecurrenceCore/h"}  # traces=false
    assert set(paths("own cell")) == {"h", "n", *(f"E_{p}_{s}" for p in "ab" for s in "hn")}
    core = "PreUpScaffold_0/CortexStack/PassThroughScaffold_1/LSTMCore/h"
    assert paths("stack as core")[core] == (1, 2 * WIDTH)
    assert set(paths("core alone")) == {"c", "n", "m", "conv"}
    assert set(paths("scaffold alone")) == {"LSTMCore/h", "LSTMCore/c"}


@pytest.mark.parametrize(
    "name", ["L", "L projected", "Ag", "gru", "lru", "mingru", "A srht", "A full rank", "M^", "S^", "X^"]
)
def test_bfloat16_carries_float32(name: str) -> None:
    """Accumulators stay float32 and counters int64 under bf16 parameters; results stay near float32's."""
    expected, state = run(part(name, "eager", F32), inputs(STEPS, F32), mask("random", STEPS), [STEPS])
    with torch.autocast(DEVICE, torch.bfloat16):
        cast, cast_state = part(name, "eager", F32)(inputs(STEPS, F32), resets=mask("random", STEPS))
    narrow = make(PARTS[name], "eager", F32).bfloat16()  # type: ignore[arg-type]
    z, narrow_state = narrow(inputs(STEPS, torch.bfloat16), resets=mask("random", STEPS))
    assert z.dtype == torch.bfloat16
    for got in (cast, z):
        assert ((got.float() - expected).norm() / expected.norm()).item() < 3 * TOLERANCES[torch.bfloat16]
    for found in (cast_state, narrow_state):
        for path, leaf in leaves(found).items():
            word = path.rpartition("/")[2]
            kept = word.startswith("mem_") or word == "conv"
            assert kept or leaf.dtype == leaves(state)[path].dtype, path

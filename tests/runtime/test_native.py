"""Steps in C++: every part against the reference in float64, when they run, and that nothing else is different."""

from __future__ import annotations

import copy
import pickle
import threading
from itertools import pairwise

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import cortexc
from cortexc.kernels.native import library
from cortexc.runtime import CompiledStack

from ..tolerances import assert_close
from .contract import inputs, leaves, make, mask, run
from .parts import EVERY, agree, oracle, part

F32 = torch.float32
STEPS = 13
# Parts with an op that has no form in C++ (compiler/native/calls.py).
IN_TORCH = {"A full rank", "C mixing", "L projected", "X without memory", "X^ without memory"}

pytestmark = [pytest.mark.interpreter, pytest.mark.filterwarnings("error:W404")]  # on a CPU


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions in C++ that were called, by name; they run though Triton's interpreter is on."""
    seen: list[str] = []
    inner = library.Native.__call__

    def call(self: library.Native, arguments: list[int]) -> None:
        seen.append(self.name)
        inner(self, arguments)

    monkeypatch.setattr(library, "INTERPRETED", False)
    monkeypatch.setattr(library.Native, "__call__", call)
    return seen


def steps(stack: CompiledStack, kind: str = "random", seed: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    with torch.no_grad():
        y, state = run(stack, inputs(STEPS, F32, seed), mask(kind, STEPS), [1] * STEPS, by_step=True)
    return y, leaves(state)


@pytest.mark.parametrize("kind", ["none", "random", "all"])
@pytest.mark.parametrize("name", EVERY)
def test_steps_agree_with_the_reference(name: str, kind: str, calls: list[str]) -> None:
    stack = part(name, "auto", F32)
    with torch.no_grad():
        y, state = run(stack, inputs(STEPS, F32), mask(kind, STEPS), [1] * STEPS, by_step=True)
    agree(y, state, oracle(name, kind), F32, f"{name} {kind}")
    assert bool(calls) == (name not in IN_TORCH)


@pytest.mark.parametrize("name", ["AXMS", "X^", "M wide heads", "nested columns"])
def test_an_engine_that_writes_in_place_agrees(name: str, calls: list[str]) -> None:
    """Over so many steps that the window of a memory wraps around its buffer."""
    stack, long = part(name, "auto", F32), 3 * STEPS
    x, m = inputs(long, F32), mask("random", long)
    assert m is not None
    stepper = stack.stepper(len(x))
    y = torch.stack([stepper(x[:, t], resets=m[:, t]).clone() for t in range(long)], 1)
    assert calls
    with torch.no_grad():
        expected, state = run(part(name, "reference", torch.float64), x.double(), m, [long])
    agree(y, stepper.state, (expected, leaves(state)), F32, name)


# -- when they run -----------------------------------------------------------------------------------------------------


def test_they_run_without_gradients_alone(calls: list[str]) -> None:
    stack, x = part("AXMS", "auto", F32), inputs(1, F32)[:, 0]
    stack.step(x)
    assert calls == []  # parameters ask for gradients
    with torch.no_grad():
        stack.step(x)
    with torch.inference_mode():
        stack.step(x)
    assert calls == ["column_axms"] * 4


def test_they_run_for_steps_of_this_backend_alone(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    x = inputs(1, F32)
    with torch.no_grad():
        part("A", "auto", F32)(x)  # a sequence
        part("A", "eager", F32).step(x[:, 0])
        part("A", "auto", torch.float64).step(x[:, 0].double())
        with torch.autocast("cpu", torch.bfloat16):
            part("A", "auto", F32).step(x[:, 0])
        monkeypatch.setenv("CORTEXC_NATIVE", "0")
        part("A", "auto", F32).step(x[:, 0])
    assert calls == []


def test_what_watches_operators_sees_them(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatch mode, vmap and forward-mode tangents get the form in torch."""
    stack, x = part("A", "auto", F32), inputs(1, F32)[:, 0]
    monkeypatch.setenv("CORTEXC_DISABLE_TRITON", "1")  # whose interpreter would run the fused regions
    with torch.no_grad():
        expected = stack.step(x)[0]
        assert calls
        calls.clear()
        with FlopCounterMode(display=False) as counter:
            stack.step(x)
        assert counter.get_total_flops() > 0
        leaf = stack.leaves(x, stack.init_state(len(x)))
        mapped = torch.func.vmap(lambda row: stack.run(row[None], tuple(s[:1] for s in leaf), None)[0][0])(x)
        _, tangent = torch.func.jvp(lambda v: stack.step(v)[0], (x,), (torch.ones_like(x),))
    assert calls == [] and tangent.abs().max() > 0
    assert_close(mapped, expected, F32)


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_the_number_of_threads_changes_nothing(rows: int, calls: list[str]) -> None:
    stack = make("A M S", "auto", F32)
    x, found, before = torch.randn(rows, 16), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            with torch.no_grad():
                y, state = stack.step(x)
                found.append(torch.cat([y, *(s.flatten(1) for s in leaves(stack.step(x, state)[1]).values())], 1))
    finally:
        torch.set_num_threads(before)
    assert calls and all(torch.equal(f, found[0]) for f in found)


# -- exactness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["A", "X", "M", "S", "X^", "L", "C"])
def test_nan_stays_in_its_row_and_its_episode(name: str, calls: list[str]) -> None:
    stack, x = part(name, "auto", F32), inputs(4, F32)
    clean, _ = steps_of(stack, x, None)
    spoiled = x.clone()
    spoiled[1, 1] = float("nan")
    m = torch.zeros(x.shape[:2], dtype=torch.bool)
    m[1, 2] = True
    y, state = steps_of(stack, spoiled, m)
    assert calls and y[1, 1].isnan().any() and not y[1, 2:].isnan().any()
    assert torch.equal(y[[0, 2]], clean[[0, 2]])
    assert not any(leaf.isnan().any() for leaf in leaves(state).values())


def steps_of(stack: CompiledStack, x: Tensor, m: Tensor | None) -> tuple[Tensor, TensorDict]:
    with torch.no_grad():
        return run(stack, x, m, [1] * x.shape[1], by_step=True)


def test_a_step_is_pure(calls: list[str]) -> None:
    """Nothing that was passed in is written, and results hold memory of their own."""
    stack, x = part("AXMS", "auto", F32), inputs(2, F32)
    with torch.no_grad():
        _, state = stack.step(x[:, 0])
        given = {k: v.clone() for k, v in leaves(state).items()}
        m = torch.tensor([True, False, True])
        y, after = stack.step(x[:, 1], state, resets=m)
        again, _ = stack.step(x[:, 1], state, resets=m)
    assert calls and torch.equal(y, again)
    assert all(torch.equal(v, given[k]) for k, v in leaves(state).items())
    held = [*leaves(after).values(), y]
    spans = sorted((t.data_ptr(), t.data_ptr() + t.numel() * t.element_size()) for t in held)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_operands_may_lie_anyhow(calls: list[str]) -> None:
    """Columns of a wider tensor, a transposed one, leaves that are windows of others."""
    stack, x = part("AXMS", "auto", F32), inputs(3, F32)
    with torch.no_grad():
        _, state = stack.step(x[:, 0].contiguous())
        expected, _ = stack.step(x[:, 1].contiguous(), state)
        odd = state.clone()
        for key in odd.keys(True, True):
            leaf = odd[key]
            wide = torch.stack([leaf, leaf], -1)
            odd[key] = wide[..., 0] if leaf.dim() > 1 else leaf
        calls.clear()
        assert torch.equal(stack.step(x[:, 1], odd)[0], expected)
        assert torch.equal(stack.step(x[:, 1].T.contiguous().T, state)[0], expected)
    assert calls


def test_threads_step_at_once(calls: list[str]) -> None:
    stack = part("AXMS", "auto", F32)
    expected = [steps(stack, seed=s) for s in range(4)]
    found: dict[int, tuple[Tensor, dict[str, Tensor]]] = {}

    def work(seed: int) -> None:
        for _ in range(5):
            found[seed] = steps(stack, seed=seed)

    workers = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    for seed, (y, state) in enumerate(expected):
        assert torch.equal(found[seed][0], y)
        assert all(torch.equal(found[seed][1][k], v) for k, v in state.items())


def test_large_memories(calls: list[str]) -> None:
    """From a size on they are written past the cache."""
    torch.manual_seed(4)
    stack, eager = (cortexc.compile("X M", d_hidden=256, backend=b) for b in ("auto", "eager"))
    eager.load_state_dict(stack.state_dict())
    x, m = torch.randn(66, 3, 256), torch.rand(66, 3) < 0.3
    (y, state), (expected, other) = (steps_of(s, x, m) for s in (stack, eager))
    assert calls and max(leaf.numel() for leaf in leaves(state).values()) * 4 > 16 << 20
    assert_close(y, expected, F32)
    for path, leaf in leaves(other).items():
        assert_close(leaves(state)[path], leaf, F32 if leaf.is_floating_point() else None, path)


# -- parameters --------------------------------------------------------------------------------------------------------


def test_parameters_are_read_where_they_are_now(calls: list[str]) -> None:
    """Updated in place, replaced, taken out of their pack, copied, and swapped for one call."""
    torch.manual_seed(3)
    stack, x = make("A S", "auto", F32), torch.randn(2, 16)
    torch_form = make("A S", "eager", F32)

    def same() -> None:
        torch_form.load_state_dict(stack.state_dict())
        with torch.no_grad():
            assert_close(stack.step(x)[0], torch_form.step(x)[0], F32)

    same()
    with torch.no_grad():
        for p in stack.parameters():
            p.mul_(1.1)
    same()
    calls.clear()
    name, first = next((n, p) for n, p in stack.named_parameters() if n.endswith("gate1.Wr.weight"))
    owner = stack.get_submodule(name.rpartition(".")[0])
    owner.weight = nn.Parameter(first.detach() * 2.0)  # no longer beside what it is packed with
    same()
    assert calls == []
    first = owner.weight
    first.data = first.detach() * 0.5
    same()
    clones = [copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))]
    with torch.no_grad():
        expected = stack.step(x)[0]
        for clone in clones:
            assert_close(clone.step(x)[0], expected, F32)
        weights = {n: p * 0.9 for n, p in stack.named_parameters()}
        swapped = torch.func.functional_call(stack, weights, (x,))[0]
        torch_form.load_state_dict({**stack.state_dict(), **weights})
        assert_close(swapped, torch_form.step(x)[0], F32)


def test_a_parameter_of_another_kind_is_left_to_torch(calls: list[str]) -> None:
    """A wrong shape is torch's error, as without."""
    stack, x = make("L", "auto", F32), torch.randn(2, 16)
    with torch.no_grad():
        stack.step(x)
        assert calls
        calls.clear()
        vector = next(p for n, p in stack.named_parameters() if n.startswith("layers.") and p.dim() == 1)
        whole = vector.detach().clone()
        vector.data = torch.zeros(3)
        with pytest.raises(RuntimeError, match=r"size|shape|expand"):
            stack.step(x)
        assert calls == []
        vector.data = whole
        stack.step(x)
        assert calls


def test_casting_there_and_back(calls: list[str]) -> None:
    stack, x = make("A", "auto", F32), torch.randn(2, 16)
    with torch.no_grad():
        expected = stack.step(x)[0]
        stack.double().step(x.double())
        assert calls == ["column_a"]
        assert torch.equal(stack.float().step(x)[0], expected)
    assert calls == ["column_a"] * 2


def test_traces_beside_none(calls: list[str]) -> None:
    """The same recurrence carried with its traces and without, in one layer."""
    pattern = "recurrence(cell=lru, traces=false) recurrence(cell=lru)"
    stack, eager = (cortexc.compile(pattern, d_hidden=16, backend=b) for b in ("auto", "eager"))
    eager.load_state_dict(stack.state_dict())
    x = torch.randn(3, 4, 16)
    (y, _), (expected, _) = (steps_of(s, x, None) for s in (stack, eager))
    assert_close(y, expected, F32)
    assert calls


def test_a_recurrence_of_the_user_and_ten_layers(calls: list[str]) -> None:
    stack = cortexc.compile("recurrence(cell=own_cell) x10", d_hidden=16)
    with torch.no_grad():
        stack.step(torch.randn(2, 16))
    assert len(calls) == 10 and len(set(calls)) == 1

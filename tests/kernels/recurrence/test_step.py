"""A step without gradients takes a road of its own: the equations once. It is the sequence of one, in every respect."""

from __future__ import annotations

import pytest
import torch

from cortexc.compiler.recurrence import State, recurrence
from cortexc.kernels.recurrence import step as one_step

from ...tolerances import assert_close
from .conftest import load


# Hands on what it reads: the input, the previous state, and a parameter that is the same for all rows.
@recurrence(inputs="u", state="a b c d", params="p", outputs="a b")
def delayed(x, s, p):
    return State(a=x.u, b=s.a, c=p.p, d=s.d + x.u * s.b)


@pytest.fixture
def taken(monkeypatch):
    """How often the road of its own was taken."""
    calls = []

    def counted(*args):
        calls.append(args)
        return one_step.advance(*args)

    monkeypatch.setattr("cortexc.kernels.recurrence.op.advance", counted)
    return calls


@pytest.fixture(scope="module")
def delay(tmp_path_factory):
    return load(delayed, tmp_path_factory.mktemp("delayed")).OP


def step_of(call, t=0):
    mask = call.resets[:, t] if call.resets is not None else None
    return call.x[:, t], call.params, call.weight, call.state, call.traces, mask


@pytest.mark.parametrize("resets", ["none", "random", "all"])
@pytest.mark.parametrize("rows", [1, 3])
def test_values(name, ops, case, taken, rows, resets):
    op, call = ops[name], case(ops[name], rows=rows, steps=1, resets=resets)
    with torch.no_grad():
        found = op.step(*step_of(call), impl="torch")
        wanted = op.step(*step_of(call), impl="reference")
    assert len(taken) == 1
    for a, b in zip((t for part in found for t in part), (t for part in wanted for t in part), strict=True):
        assert a.shape == b.shape
        assert_close(a, b)


def test_gradients_take_the_other_road(name, ops, case, taken):
    op, call = ops[name], case(ops[name], steps=1)
    op.step(*step_of(call), impl="torch")
    assert not taken


def test_own_weights(ops, case, taken):
    op, call = ops["slstm"], case(ops["slstm"], rows=2, steps=1)
    own = torch.stack([call.weight, 2.0 * call.weight]).detach()
    with torch.no_grad():
        found, _, _ = op.step(call.x[:, 0], (), own, call.state, (), None, impl="torch")
        for row in range(2):
            state = tuple(s[row : row + 1] for s in call.state)
            wanted, _, _ = op.step(call.x[row : row + 1, 0], (), own[row], state, (), None, impl="reference")
            assert_close(found[0][row], wanted[0][0])
    assert len(taken) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_dtypes(name, ops, case, dtype):
    """Outputs have the dtype of x; what is carried is float32 or better."""
    op, call = ops[name], case(ops[name], steps=1).to(dtype)
    with torch.no_grad():
        outputs, state, traces = op.step(*step_of(call), impl="torch")
        wanted, last, ends = op.step(*step_of(call), impl="reference")
    assert {y.dtype for y in outputs} == {dtype}
    assert {s.dtype for s in (*state, *traces)} == {torch.float32}
    for a, b in zip((*outputs, *state, *traces), (*wanted, *last, *ends), strict=True):
        assert_close(a, b)


def test_nan_before_a_reset(name, ops, case):
    op, call = ops[name], case(ops[name], rows=2, steps=1, resets="all", attached=False)
    with torch.no_grad():
        wanted = op.step(*step_of(call), impl="torch")
        for held in (*call.state, *call.traces):
            held.fill_(float("nan"))
        found = op.step(*step_of(call), impl="torch")
    for a, b in zip((t for part in found for t in part), (t for part in wanted for t in part), strict=True):
        assert_close(a, b)


def test_results_have_memory_of_their_own(delay):
    """Equations that hand on what they read: no two of operands and results share memory, and shapes are whole."""
    x, p = torch.randn(3, 1, 5), torch.randn(5)
    state, traces = tuple(torch.randn(3, 5) for _ in range(4)), delay.initial_traces(3, 5, torch.randn(3, 5))
    with torch.no_grad():
        outputs, after, ends = delay.step(x, (p,), None, state, traces, None, impl="torch")
    held = [t.untyped_storage().data_ptr() for t in (x, p, *state, *traces, *outputs, *after, *ends)]
    assert len(set(held)) == len(held)
    for value, wanted in zip(after, (x[:, 0], state[0], p.expand(3, 5), state[3] + x[:, 0] * state[1]), strict=True):
        assert_close(value, wanted)

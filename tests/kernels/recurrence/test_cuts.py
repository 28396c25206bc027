"""One sequence, cut anywhere or run step by step, is one function; traces carry its gradient across cuts."""

from __future__ import annotations

import pytest
import torch

from ...tolerances import assert_close

STEPS = 9
CUTS = [(4,), (1, 2, 7), (8,), tuple(range(1, STEPS))]


def pieces(call, cuts):
    """(x, resets) between the cuts."""
    for start, stop in zip((0, *cuts), (*cuts, STEPS), strict=True):
        yield call.x[:, start:stop], call.resets[:, start:stop] if call.resets is not None else None


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("resets", ["none", "random"])
def test_values(name, ops, case, cuts, resets):
    op, call = ops[name], case(ops[name], steps=STEPS, resets=resets)
    outputs, last, traces = op.sequence(*call.args(), impl="torch")
    state, carried, parts = call.state, call.traces, []
    for x, mask in pieces(call, cuts):
        part, state, carried = op.sequence(x, call.params, call.weight, state, carried, mask, impl="torch")
        parts.append(part)
    for i, whole in enumerate(outputs):
        assert_close(torch.cat([p[i] for p in parts], dim=1), whole, what=f"output {i}")
    for whole, cut in zip((*last, *traces), (*state, *carried), strict=True):
        assert_close(cut, whole)


@pytest.mark.parametrize("resets", ["none", "random"])
def test_attached_gradients(name, ops, case, resets):
    """State handed on with its graph: autograd carries the past, the traces must add nothing."""
    op, call = ops[name], case(ops[name], steps=STEPS, resets=resets)
    fresh = tuple(torch.zeros_like(e) for e in call.traces)
    outputs, last, _ = op.sequence(call.x, call.params, call.weight, call.state, fresh, call.resets, impl="torch")
    wanted = torch.autograd.grad([sum(y.sin().sum() for y in (*outputs, *last))], call.leaves())
    state, carried, total = call.state, fresh, 0.0
    for x, mask in pieces(call, (3, 4)):
        part, state, carried = op.sequence(x, call.params, call.weight, state, carried, mask, impl="torch")
        total = total + sum(y.sin().sum() for y in part)
    total = total + sum(s.sin().sum() for s in state)
    for g, w in zip(torch.autograd.grad([total], call.leaves()), wanted, strict=True):
        assert_close(g, w)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("resets", ["none", "random", "first", "last"])
@pytest.mark.parametrize("impl", ["torch", "reference"])
def test_detached_gradients(traced, ops, case, cuts, resets, impl):
    """State handed on without its graph: the traces alone make the sum over pieces the full gradient."""
    op, call = ops[traced], case(ops[traced], steps=STEPS, resets=resets, attached=False, traces=False)
    start = op.initial_state(2, 6, call.x)
    fresh = op.initial_traces(2, 6, call.x)
    outputs, _, _ = op.sequence(call.x, call.params, None, start, (), call.resets, impl="reference")
    wanted = torch.autograd.grad([sum(y.sin().sum() for y in outputs)], call.params)
    total = [torch.zeros_like(p) for p in call.params]
    state, carried = start, fresh
    for x, mask in pieces(call, cuts):
        part, state, carried = op.sequence(x, call.params, None, state, carried, mask, impl=impl)
        grads = torch.autograd.grad([sum(y.sin().sum() for y in part)], call.params)
        total = [t + g for t, g in zip(total, grads, strict=True)]
        state = tuple(s.detach() for s in state)
    for g, w in zip(total, wanted, strict=True):
        assert (g - w).abs().max() <= 1e-9 * w.abs().max().clamp_min(1.0)


def test_without_traces_the_gradient_is_truncated(traced, ops, case):
    """The test above can fail: without traces the sum over pieces is another number."""
    op, call = ops[traced], case(ops[traced], steps=STEPS, resets="none", attached=False, traces=False)
    start = op.initial_state(2, 6, call.x)
    outputs, _, _ = op.sequence(call.x, call.params, None, start, (), None, impl="torch")
    wanted = torch.autograd.grad([outputs[0].sin().sum()], call.params)
    total = [torch.zeros_like(p) for p in call.params]
    state = start
    for x, _ in pieces(call, (4,)):
        part, state, _ = op.sequence(x, call.params, None, tuple(s.detach() for s in state), (), None, impl="torch")
        total = [t + g for t, g in zip(total, torch.autograd.grad([part[0].sin().sum()], call.params), strict=True)]
    assert any((g - w).abs().max() > 1e-4 for g, w in zip(total, wanted, strict=True))


def test_steps(name, ops, case):
    op, call = ops[name], case(ops[name], steps=STEPS)
    outputs, last, traces = op.sequence(*call.args(), impl="torch")
    state, carried = call.state, call.traces
    for t in range(STEPS):
        y, state, carried = op.step(
            call.x[:, t], call.params, call.weight, state, carried, call.resets[:, t], impl="torch"
        )
        for i, whole in enumerate(outputs):
            assert_close(y[i], whole[:, t])
    for whole, cut in zip((*last, *traces), (*state, *carried), strict=True):
        assert_close(cut, whole)


def test_step_on_triton(name, ops, case):
    op, call = ops[name], case(ops[name], steps=1).to(torch.float32)
    mask = call.resets[:, 0]
    found = op.step(call.x[:, 0], call.params, call.weight, call.state, call.traces, mask, impl="triton")
    wanted = op.step(call.x[:, 0], call.params, call.weight, call.state, call.traces, mask, impl="reference")
    for a, b in zip((t for part in found for t in part), (t for part in wanted for t in part), strict=True):
        assert_close(a, b)

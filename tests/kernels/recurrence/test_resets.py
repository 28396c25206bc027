"""A reset selects: nothing from before it, NaN included, reaches anything at or after it."""

from __future__ import annotations

import pytest
import torch

from ...tolerances import assert_close

IMPLS = ["reference", "torch", "triton"]
CUT = 3


def cut_mask(call):
    mask = torch.zeros_like(call.x[:, :, 0, 0], dtype=torch.bool)
    mask[0, CUT] = True
    return mask


@pytest.mark.parametrize("impl", IMPLS)
def test_nan_before_a_reset(name, ops, case, variant, impl):
    op = ops[name]
    clean = case(op, steps=6, resets="none").to(torch.float32)
    clean = variant(clean, resets=cut_mask(clean))
    x = clean.x.detach().clone()
    x[0, CUT - 1] = float("nan")
    dirty = variant(clean, x=x.requires_grad_())
    results = {}
    for which, call in (("clean", clean), ("dirty", dirty)):
        outputs, last, traces = op.sequence(*call.args(), impl=impl)
        after = sum(y[0, CUT:].sin().sum() for y in outputs) + sum(s[0].sin().sum() for s in last)
        (gradient,) = torch.autograd.grad([after], [call.x])
        results[which] = [*(y[0, CUT:] for y in outputs), *(s[0] for s in last), *(e[0] for e in traces)]
        results[which] += [gradient[0, CUT:], gradient[1]]
    for a, b in zip(results["dirty"], results["clean"], strict=True):
        assert torch.isfinite(a).all()
        assert_close(a, b)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("attached", [True, False])
def test_nan_in_a_state_that_is_reset(name, ops, case, variant, impl, attached):
    """Row 0 comes in broken and is reset at t = 0: every gradient stays finite, parameters and weight included."""
    op = ops[name]
    call = case(op, resets="none").to(torch.float32)
    mask = torch.zeros_like(call.x[:, :, 0, 0], dtype=torch.bool)
    mask[0, 0] = True

    def broken(t):
        t = t.detach().clone()
        t[0] = float("nan")
        return t

    state = tuple(broken(s).requires_grad_(attached) for s in call.state)
    call = variant(call, resets=mask, state=state, traces=tuple(map(broken, call.traces)))
    outputs, last, traces = op.sequence(*call.args(), impl=impl)
    loss = sum(y.sin().sum() for y in (*outputs, *last))
    for value in (*outputs, *last, *traces, *torch.autograd.grad([loss], call.leaves(), materialize_grads=True)):
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_reset_is_a_fresh_start(name, ops, case, impl):
    """A reset at t = 0 gives what the initial state gives, and its state gets no gradient."""
    op = ops[name]
    call = case(op, resets="first").to(torch.float32)
    outputs, last, traces = op.sequence(*call.args(), impl=impl)
    fresh = op.sequence(call.x, call.params, call.weight, None, op.initial_traces(2, 6, call.x), None, impl=impl)
    for a, b in zip((*outputs, *last, *traces), (t for part in fresh for t in part), strict=True):
        assert_close(a, b)
    for gradient in torch.autograd.grad([sum(y.sum() for y in outputs)], call.state, materialize_grads=True):
        assert (gradient == 0).all()


def test_rows_do_not_mix(name, ops, case, variant):
    op = ops[name]
    call = case(op, rows=3)
    whole = op.sequence(*call.args(), impl="torch")
    for row in range(3):
        pick = slice(row, row + 1)
        alone = variant(
            call,
            x=call.x[pick],
            state=tuple(s[pick] for s in call.state),
            traces=tuple(e[pick] for e in call.traces),
            resets=call.resets[pick],
        )
        for a, b in zip(
            (t for part in op.sequence(*alone.args(), impl="torch") for t in part),
            (t[pick] for part in whole for t in part),
            strict=True,
        ):
            assert_close(a, b)

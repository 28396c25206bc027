"""Every implementation computes the reference's function: outputs, state, traces and every gradient."""

from __future__ import annotations

import pytest
import torch

from ...tolerances import assert_close

RESETS = ["none", "false", "random", "first", "last", "all"]


def same(found, wanted, dtype):
    assert found.keys() == wanted.keys()
    for what, value in wanted.items():
        assert_close(found[what], value, dtype, what)


@pytest.mark.parametrize("resets", RESETS)
def test_torch_float64(name, ops, case, evaluate, poisoned, resets):
    call = case(ops[name], rows=3, steps=7, resets=resets)
    same(evaluate(ops[name], call, "torch"), evaluate(ops[name], call, "reference"), torch.float64)


@pytest.mark.parametrize(
    ("rows", "steps", "heads", "width"), [(1, 1, 1, 1), (1, 16, 1, 5), (4, 1, 2, 3), (2, 33, 3, 1)]
)
def test_torch_sizes(name, ops, case, evaluate, poisoned, rows, steps, heads, width):
    call = case(ops[name], rows=rows, steps=steps, heads=heads, width=width)
    same(evaluate(ops[name], call, "torch"), evaluate(ops[name], call, "reference"), torch.float64)


@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("resets", ["none", "random", "all"])
def test_float32_against_float64(name, ops, case, evaluate, poisoned, impl, resets):
    call = case(ops[name], resets=resets)
    found = evaluate(ops[name], call.to(torch.float32), impl)
    same(found, evaluate(ops[name], call.to(torch.float32).to(torch.float64), "reference"), torch.float32)


@pytest.mark.parametrize(("rows", "steps", "heads", "width"), [(1, 1, 1, 1), (1, 7, 1, 5), (17, 2, 2, 3), (2, 9, 1, 7)])
def test_triton_sizes(name, ops, case, evaluate, poisoned, rows, steps, heads, width):
    call = case(ops[name], rows=rows, steps=steps, heads=heads, width=width)
    found = evaluate(ops[name], call.to(torch.float32), "triton")
    same(found, evaluate(ops[name], call.to(torch.float32).to(torch.float64), "reference"), torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("impl", ["torch", "triton", "reference"])
def test_half_inputs(name, ops, case, evaluate, impl, dtype):
    """Outputs and gradients have the dtype of what they belong to; state and traces stay float32."""
    call = case(ops[name]).to(dtype)
    wide = call.to(torch.float32)
    call = type(call)(call.x, wide.params, call.weight, wide.state, wide.traces, call.resets)
    found = evaluate(ops[name], call, impl)
    same(found, evaluate(ops[name], call.to(torch.float64), "reference"), dtype)
    for what, value in found.items():
        if what.startswith("output"):
            assert value.dtype == dtype
        elif not what.startswith("gradient"):
            assert value.dtype == torch.float32


@pytest.mark.interpreter
def test_backward_takes_the_branch_of_the_forward(ops, case, evaluate):
    """A recurrent term recomputed with bfloat16 rounding flips maxima near a tie; a loss on m shows each flip.

    The interpreter multiplies in float32, so the wide run is its oracle. A GPU rounds y to bfloat16 for the product;
    there the forward itself decides near-ties in another way than a wide run."""
    half = case(ops["slstm"], rows=64, steps=3, heads=4, width=64, resets="first", seed=5)
    # recurrent terms so large that rounding them moves them far
    weight = (8.0 * half.weight.detach()).requires_grad_()
    half = type(half)(half.x, (), weight, half.state, (), half.resets).to(torch.bfloat16)
    wide = half.to(torch.float32)
    half = type(half)(half.x, (), half.weight, wide.state, (), half.resets)
    found, wanted = (evaluate(ops["slstm"], call, impl) for call, impl in ((half, "triton"), (wide, "torch")))
    same(gradients_of(found), gradients_of(wanted), torch.bfloat16)


def gradients_of(results):
    return {what: value for what, value in results.items() if what.startswith("gradient")}


@pytest.mark.parametrize("impl", ["reference", "torch"])
@pytest.mark.parametrize("resets", ["none", "random"])
def test_gradcheck(name, ops, case, impl, resets):
    call = case(ops[name], rows=2, steps=3, heads=1, width=2, resets=resets, traces=False)
    leaves = call.leaves()
    p, k = len(call.params), len(call.state)
    data, held = ops[name].cell.input_axes.count(""), call.x.detach().clone()

    def function(*tensors):
        x, *rest = tensors
        if data:  # gets no gradient
            x = torch.cat([x[..., :-data], held[..., -data:]], -1)
        params, rest = tuple(rest[:p]), rest[p:]
        weight = rest[0] if call.weight is not None else None
        outputs, last, _ = ops[name].sequence(x, params, weight, tuple(rest[-k:]), (), call.resets, impl=impl)
        return (*outputs, *last)

    assert torch.autograd.gradcheck(function, leaves)


def test_only_some_gradients(name, ops, case):
    """Frozen parameters, a detached state, or no gradient at all."""
    op = ops[name]
    call = case(op, attached=False)
    frozen = type(call)(
        call.x.detach(), tuple(p.detach() for p in call.params), None, call.state, call.traces, call.resets
    )
    if call.weight is not None:
        frozen = type(call)(*(call.weight if f is None else f for f in frozen.args()))
        (gradient,) = torch.autograd.grad(op.sequence(*frozen.args(), impl="torch")[0][0].sum(), [call.weight])
        assert gradient.abs().sum() > 0
    else:
        assert not op.sequence(*frozen.args(), impl="torch")[0][0].requires_grad
    with torch.no_grad():
        assert not op.sequence(*call.args(), impl="torch")[0][0].requires_grad


def test_twice_raises(name, ops, case):
    """Double backward says no; it never gives a wrong number."""
    call = case(ops[name])
    outputs, _, _ = ops[name].sequence(*call.args(), impl="torch")
    (gradient,) = torch.autograd.grad(outputs[0].square().sum(), [call.x], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_arguments_are_not_written(name, ops, case):
    call = case(ops[name])
    before = [t.detach().clone() for t in (call.x, *call.params, *call.state, *call.traces)]
    outputs, last, _ = ops[name].sequence(*call.args(), impl="torch")
    torch.autograd.grad([*outputs, *last], call.leaves(), [torch.ones_like(t) for t in (*outputs, *last)])
    for old, now in zip(before, (call.x, *call.params, *call.state, *call.traces), strict=True):
        assert torch.equal(old, now)

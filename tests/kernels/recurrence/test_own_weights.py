"""Recurrent matrices of each row (routed adapters): the same as every row by itself with its matrix."""

from __future__ import annotations

import pytest
import torch

from cortexc.kernels.recurrence import tiles

from ...tolerances import assert_close

CELLS = ["slstm", "lstm", "gru"]
F64 = torch.float64
ROWS = 3


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("impl", ["reference", "torch"])
@pytest.mark.parametrize("resets", ["none", "random"])
def test_is_each_row_by_itself(ops, case, variant, poisoned, cell, impl, resets):
    """Outputs, state and gradients, with two heads, over more steps than a block holds."""
    op = ops[cell]
    call = case(op, rows=ROWS, steps=40, heads=2, resets=resets)
    generator = torch.Generator().manual_seed(5)
    own = call.weight + 0.2 * torch.randn(ROWS, *call.weight.shape, generator=generator, dtype=F64).to(call.x)
    own = own.detach().requires_grad_()
    call = variant(call, weight=own)
    outputs, last, _ = op.sequence(*call.args(), impl=impl)
    seeds = [torch.randn(r.shape, generator=generator, dtype=F64).to(r) for r in (*outputs, *last)]
    grads = torch.autograd.grad([*outputs, *last], [call.x, own, *call.params, *call.state], seeds)
    d_x, d_weight, *rest = grads
    d_params, d_state = rest[: len(call.params)], rest[len(call.params) :]
    sums = [torch.zeros_like(p) for p in call.params]
    for row in range(ROWS):
        one = slice(row, row + 1)
        alone = (
            call.x[one],
            call.params,
            own[row],
            tuple(s[one] for s in call.state),
            (),
            None if call.resets is None else call.resets[one],
        )
        y, end, _ = op.sequence(*alone, impl="reference")
        for found, wanted in zip((*outputs, *last), (*y, *end), strict=True):
            assert_close(found[one], wanted, F64)
        leaves = [call.x, own, *call.params, *call.state]
        wanted = torch.autograd.grad([*y, *end], leaves, [s[one] for s in seeds], allow_unused=True)
        assert_close(d_x[one], wanted[0][one], F64)
        assert_close(d_weight[one], wanted[1][one], F64)
        for total, g in zip(sums, wanted[2:], strict=False):
            total += g
        for found, g in zip(d_state, wanted[2 + len(sums) :], strict=True):
            assert_close(found[one], g[one], F64)
    for found, total in zip(d_params, sums, strict=True):
        assert_close(found, total, F64)


def test_one_row_has_the_matrix_that_it_shares(ops, case, variant):
    """A leading axis of 1 is the same as none, for one row and for all alike."""
    call = case(ops["slstm"], rows=ROWS)
    expected, _, _ = ops["slstm"].sequence(*call.args(), impl="torch")
    found, _, _ = ops["slstm"].sequence(*variant(call, weight=call.weight[None]).args(), impl="torch")
    assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("resets", ["none", "random"])
def test_kernels(ops, case, variant, evaluate, poisoned, cell, resets):
    """A program is one head of one row."""
    call = case(ops[cell], rows=ROWS, steps=5, heads=2, resets=resets)
    own = call.weight + 0.2 * torch.randn(ROWS, *call.weight.shape, dtype=F64).to(call.x)
    call = variant(call, weight=own.detach().requires_grad_()).to(torch.float32)
    found = evaluate(ops[cell], call, "triton")
    for what, value in evaluate(ops[cell], call.to(F64), "reference").items():
        assert_close(found[what], value, torch.float32, what)


def test_too_large_for_one_program(ops, case, variant, monkeypatch):
    monkeypatch.setattr(tiles, "ON_CHIP", 16)
    call = case(ops["lstm"], rows=ROWS, resets="none", traces=False)
    call = variant(call, weight=call.weight.expand(ROWS, *call.weight.shape)).to(torch.float32)
    with pytest.raises(RuntimeError, match="W413 lstm: every row has recurrent matrices of its own"):
        ops["lstm"].sequence(*call.args(), impl="triton")


def test_as_many_matrices_as_rows(ops, case, variant):
    call = case(ops["lstm"], rows=ROWS)
    call = variant(call, weight=call.weight.expand(2, *call.weight.shape))
    with pytest.raises(ValueError, match=r"lstm: weight is \[N, 4, D, D\] with N·D = 6, or 3 of these, got \(2, 2, 4"):
        ops["lstm"].sequence(*call.args(), impl="torch")

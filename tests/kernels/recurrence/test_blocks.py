"""The torch loop works in blocks of steps on partial derivatives: neither may be seen from outside."""

from __future__ import annotations

import pytest
import torch

from cortexc.kernels.recurrence import layout, tiles

from ...tolerances import assert_close

LOOPS = ["slstm", "lstm", "gru", "leaky"]


@pytest.mark.parametrize("cell", LOOPS)
@pytest.mark.parametrize("resets", ["none", "random"])
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_any_block(ops, case, evaluate, poisoned, monkeypatch, cell, resets, steps):
    """Sequences shorter than a block, of whole blocks, and with a rest."""
    monkeypatch.setattr(layout, "STEPS", steps)
    for length in (2, 8, 9):
        call = case(ops[cell], rows=3, steps=length, resets=resets)
        wanted = evaluate(ops[cell], call, "reference")
        for what, value in evaluate(ops[cell], call, "torch").items():
            assert_close(value, wanted[what], torch.float64, what)


def test_block_length():
    """Bounded in steps and in numbers, and never empty."""
    assert layout.block_length(4, 1000, 256) == layout.STEPS
    assert layout.block_length(4, 7, 256) == 7
    assert layout.block_length(64, 1000, 256) * 64 * 256 <= layout.NUMBERS
    assert layout.block_length(1024, 1000, 4096) == 1


@pytest.mark.parametrize("cell", LOOPS)
def test_jacobian(ops, cell):
    """`jacobian` against autograd through `advance`; entries that are not listed are 0."""
    own = ops[cell].cell
    count, k = len(own.inputs), len(own.state)
    given = [torch.randn(64, dtype=torch.float64).requires_grad_() for _ in range(count + own.shared.count(False) + k)]
    hoisted = [torch.randn(64, dtype=torch.float64) for _ in own.hoisted]
    extra = iter(given[count : len(given) - k])
    gates = [given[g] if shared else next(extra) for g, shared in zip(own.gates, own.shared, strict=True)]
    places = [*gates, *given[len(given) - k :]]
    found = dict(zip(own.entries, own.jacobian(*given, *hoisted), strict=True))
    for i, new in enumerate(own.advance(*given, *hoisted)):
        rows = torch.autograd.grad(new.sum(), places, allow_unused=True, materialize_grads=True, retain_graph=True)
        for place, wanted in enumerate(rows):
            value = torch.as_tensor(found.get((i, place), 0.0), dtype=torch.float64).expand(64)
            assert_close(value.detach(), wanted, torch.float64, f"{i} {place}")


@pytest.mark.parametrize("cell", LOOPS)
def test_nan_stays_in_its_rows_and_behind_its_reset(ops, case, variant, evaluate, monkeypatch, cell):
    """A NaN gradient of an output after a reset reaches no step before it, at block edges and inside blocks."""
    monkeypatch.setattr(layout, "STEPS", 3)
    op = ops[cell]
    for cut in (2, 3, 4):
        call = case(op, rows=2, steps=6, resets="none")
        mask = torch.zeros(2, 6, dtype=torch.bool, device=call.x.device)
        mask[0, cut] = True
        call = variant(call, resets=mask)
        outputs, _, _ = op.sequence(*call.args(), impl="torch")
        d = torch.ones_like(outputs[0])
        d[0, cut:] = float("nan")
        (gradient,) = torch.autograd.grad([outputs[0]], [call.x], [d])
        assert torch.isfinite(gradient[0, :cut]).all()
        assert torch.isfinite(gradient[1]).all()
        assert torch.isnan(gradient[0, cut:]).any()


@pytest.mark.parametrize("cell", ["axon", "mingru", "ramp"])
@pytest.mark.parametrize("resets", ["none", "random"])
def test_chunks_of_time(ops, case, evaluate, poisoned, monkeypatch, cell, resets):
    """Chunks that run at once, the last one short, and more programs than one."""
    for name, value in {"INTERPRETED_BLOCK": 4, "INTERPRETED_CHUNK": 4, "SHORTEST": 4, "LANES": 1}.items():
        monkeypatch.setattr(tiles, name, value)
    call = case(ops[cell], rows=2, steps=11, heads=1, width=3, resets=resets)
    same_as_reference(ops[cell], call, evaluate)


@pytest.mark.parametrize("cell", ["slstm", "lstm", "gru"])
@pytest.mark.parametrize(("resident", "slices"), [(True, 1), (True, 2), (False, 1)])
@pytest.mark.parametrize("resets", ["none", "random"])
def test_units_over_programs(ops, case, evaluate, poisoned, monkeypatch, cell, resident, slices, resets):
    """A head that one program cannot hold: two programs a head, two launches of rows, weights kept or read again."""
    split = tiles.Split(units=16, slices=slices, resident=1 << 20 if resident else 0, piece=16)
    monkeypatch.setattr(tiles, "SPLIT", dict.fromkeys(tiles.SPLIT, (split,)))
    monkeypatch.setattr(tiles, "ON_CHIP", 0)
    monkeypatch.setattr(tiles, "processors", lambda device: 4)
    call = case(ops[cell], rows=17, steps=3, heads=2, width=20, resets=resets)
    same_as_reference(ops[cell], call, evaluate)


def same_as_reference(op, call, evaluate):
    found = evaluate(op, call.to(torch.float32), "triton")
    wanted = evaluate(op, call.to(torch.float32).to(torch.float64), "reference")
    for what, value in wanted.items():
        assert_close(found[what], value, torch.float32, what)

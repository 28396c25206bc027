"""The loop that is left of an affine recurrence has two forms in torch: step by step, and by doubling."""

from __future__ import annotations

import pytest
import torch

from cortexc.kernels.recurrence import solve

from ...tolerances import assert_close

AFFINE = ["axon", "lru", "mingru", "ramp", "window3", "agalite_r2", "shared"]


@pytest.mark.parametrize("cell", AFFINE)
@pytest.mark.parametrize("resets", ["none", "random", "first", "last", "all"])
@pytest.mark.parametrize("steps", [1, 2, 13])
@pytest.mark.parametrize("walks", [True, False])
def test_both_forms(ops, case, evaluate, poisoned, monkeypatch, cell, resets, steps, walks):
    monkeypatch.setattr(solve, "walks", lambda values: walks)
    call = case(ops[cell], rows=3, steps=steps, resets=resets)
    wanted = evaluate(ops[cell], call, "reference")
    for what, value in evaluate(ops[cell], call, "torch").items():
        assert_close(value, wanted[what], torch.float64, what)


def test_only_distinct_numbers_are_composed(ops):
    """AGaLiTe's sums decay by two numbers, not by nine; a shift register's powers are known by their diagonals."""
    assert [ops[name].cell.numbers for name in ("agalite_r2", "agalite_r3_eps0_001")] == [2, 2]
    assert ops["window3"].cell.numbers == 3
    assert ops["axon"].cell.numbers == 4 and ops["ramp"].cell.numbers == 3

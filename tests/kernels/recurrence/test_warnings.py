"""What `impl="auto"` says when the Triton kernels cannot take a call: once, with a code."""

from __future__ import annotations

import warnings

import pytest
import torch

from cortexc.kernels import warnings as ours
from cortexc.kernels.recurrence import tiles
from cortexc.runtime.errors import CortexWarning


@pytest.fixture(autouse=True)
def _unheard(monkeypatch):
    monkeypatch.setattr(ours, "_SAID", set())


def test_one_category():
    assert CortexWarning is ours.CortexWarning


@pytest.mark.parametrize("compiled", [False, True])
def test_once_per_reason_and_op(ops, case, compiled):
    torch._dynamo.reset()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for name in ("gru", "lstm"):
            op, call = ops[name], case(ops[name])
            run = torch.compile(op.sequence, fullgraph=True, backend="eager") if compiled else op.sequence
            for _ in range(3):
                run(*call.args())
    texts = [str(w.message) for w in heard if issubclass(w.category, CortexWarning)]
    assert [t.split(":")[0] for t in texts] == ["W412 gru", "W412 lstm"]


def test_matrices_that_do_not_fit(ops, case, monkeypatch):
    """More programs than run at once: none may wait for one that has not started."""
    monkeypatch.setattr(tiles, "ON_CHIP", 16)
    monkeypatch.setattr(tiles, "processors", lambda device: 1)
    op, call = ops["gru"], case(ops["gru"], heads=2).to(torch.float32)
    with pytest.warns(CortexWarning, match="W411 gru: 2 recurrent matrices of width 3 spread over 2 programs"):
        op.sequence(*call.args())
    with pytest.raises(RuntimeError, match="W411"):
        op.sequence(*call.args(), impl="triton")

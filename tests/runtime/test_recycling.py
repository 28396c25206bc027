"""Steps of many rows on a CPU: memory of states that died is used again, and a state that lives is never touched."""

from __future__ import annotations

import pytest
import torch

import cortexc
from cortexc.runtime import module

from .contract import leaves

ROWS, WIDTH = 96, 64


@pytest.mark.parametrize("pattern", ["M", "X", "M X"])
@pytest.mark.parametrize("resets", [False, True])
def test_states_that_live_keep_their_values(pattern: str, resets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    stack = cortexc.compile(pattern, d_hidden=WIDTH, backend="eager", device="cpu")
    x = torch.randn(8, ROWS, WIDTH)
    mask = torch.rand(8, ROWS) < (0.3 if resets else 0.0)

    @torch.no_grad()
    def run() -> list[dict[str, torch.Tensor]]:
        """Every state of a run, a branch from the middle among them; copies were made as they came."""
        state, states, copies = None, [], []
        for t in (0, 1, 2, 3):
            state = stack.step(x[t], state, resets=mask[t])[1]
            states.append(state)
            copies.append({k: v.clone() for k, v in leaves(state).items()})
        branch = states[1]
        del states[2], copies[2], state
        for t in (4, 5, 6, 7):
            branch = stack.step(x[t], branch, resets=mask[t])[1]
        for state, copied in zip(states, copies, strict=True):
            assert all(torch.equal(v, copied[k]) for k, v in leaves(state).items())
        return [*copies, {k: v.clone() for k, v in leaves(branch).items()}]

    recycled = run()
    assert sum(map(len, stack._pool._free.values())) > 0  # memory has come back, so it was in use
    monkeypatch.setattr(module, "undisturbed", lambda: False)
    for a, b in zip(recycled, run(), strict=True):
        assert all(torch.equal(a[k], b[k]) for k in b)

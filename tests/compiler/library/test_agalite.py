"""Core `Ag` against its equations, written out here a second time. Covers C7."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import cortexc
from cortexc.cortex_dsl import AGaLiTeCoreConfig

from ...tolerances import assert_close

F64 = torch.float64
H, N, ETA, R, B, T = 12, 3, 2, 3, 2, 6
D = H // N


def by_hand(core: torch.nn.Module, x: Tensor, resets: Tensor, eps: float) -> Tensor:
    """spec §2, one head, row and step at a time."""
    y = torch.zeros(B, T, H, dtype=F64)
    omega = [-math.pi + 2 * math.pi * i / (R - 1) for i in range(R)]
    for row in range(B):
        out = torch.zeros(T, N, D, dtype=F64)
        for head in range(N):
            w = core.kqvbg_proj.weight.view(N, 5, D, H)[head]
            w_p = core.p123_proj.weight.view(N, 3, ETA, H)[head]
            for t in range(T):
                if t == 0 or resets[row, t]:
                    tick, s = 1, torch.zeros(ETA * D, dtype=F64)
                    keys = [torch.zeros(ETA * D, dtype=F64)] * R
                    values = [torch.zeros(D, dtype=F64)] * R
                k, q, v, beta, gamma = w @ x[row, t]
                p1, p2, p3 = w_p @ x[row, t]
                key, query = torch.outer(p1.relu(), k.relu()).flatten(), torch.outer(p2.relu(), q.relu()).flatten()
                gate, write = torch.outer(p3.sigmoid(), gamma.sigmoid()).flatten(), beta.sigmoid()
                waves = [math.cos((tick + 1) * o) for o in omega]
                keys = [(1 - gate) * m + a * gate * key for m, a in zip(keys, waves, strict=True)]
                values = [(1 - write) * m + a * write * v for m, a in zip(values, waves, strict=True)]
                s, tick = (1 - gate) * s + gate * key, tick + 1
                total = sum(m * (n @ query) for m, n in zip(values, keys, strict=True))
                out[t, head] = total / (2 * R * (s @ query) + eps)
        y[row] = out.flatten(1) @ core.out_proj.weight.T + core.out_proj.bias
    return y


@pytest.mark.parametrize("backend", ["reference", "eager"])
def test_equals_the_equations(backend: str) -> None:
    torch.manual_seed(0)
    config = AGaLiTeCoreConfig(hidden_size=H, n_heads=N, eta=ETA, r=R, eps=1e-3)
    core = cortexc.compile(config, backend=backend, dtype=F64)
    with torch.no_grad():
        core.out_proj.bias.uniform_()
    x = torch.randn(B, T, H, dtype=F64)
    resets = torch.zeros(B, T, dtype=torch.bool)
    resets[0, 3] = resets[1, 5] = True
    y, state = core(x, resets=resets)
    assert_close(y, by_hand(core, x, resets, 1e-3))
    assert state["tick"].tolist() == [4, 2]


def test_start() -> None:
    """Projections orthogonal with gain √2, output bias 0."""
    core = cortexc.compile(AGaLiTeCoreConfig(hidden_size=H, n_heads=N, eta=ETA), backend="eager", dtype=F64)
    for weight in (core.kqvbg_proj.weight, core.p123_proj.weight, core.out_proj.weight):
        assert_close(weight.T @ weight, 2 * torch.eye(H, dtype=F64))
    assert (core.out_proj.bias == 0).all()


def test_no_loop_over_time() -> None:
    """The compiled sequence is the scan; only the reference is the loop."""
    for backend, name in (("eager", "agalite("), ("reference", "agalite_reference(")):
        text = (cortexc.compile("Ag", d_hidden=16, backend=backend).folder / "module.py").read_text()
        assert f"= {name}" in text

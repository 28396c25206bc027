"""Cores `M`, `S`, `A` and `X` against the equations of spec §2, written out here a second time: one row, one step, one
head at a time, from the inputs of the episode alone. Covers C2, C3, C5, C6, K1-K4."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import cortexc
from cortexc.cortex_dsl import AxonCoreConfig, XLCoreConfig, mLSTMCoreConfig, sLSTMCoreConfig

from ...tolerances import assert_close

F64 = torch.float64
H, N, B, T = 12, 3, 2, 9
D = H // N


def convolved(core: Any, past: Tensor) -> Tensor:
    """SiLU of the causal convolution at the last of ``past [t, H]``, which begins with its episode."""
    weight, bias = core.conv1d.weight, core.conv1d.bias
    window = F.pad(past, (0, 0, weight.shape[-1], 0))[-weight.shape[-1] :]
    return F.silu((window * weight[:, 0].T).sum(0) + bias)


def head_norm(core: Any, y: Tensor) -> Tensor:
    """Each head to mean 0 and variance 1, then a weight a channel."""
    return F.layer_norm(y.view(N, D), (D,)).flatten() * core.outnorm.weight


def mlstm(core: Any, episode: Tensor) -> Tensor:
    """xLSTM, arXiv 2405.04517, eqs. 19-27."""
    c, n, m = torch.zeros(N, D, D, dtype=F64), torch.zeros(N, D, dtype=F64), torch.zeros(N, dtype=F64)
    outputs = []
    for t in range(len(episode)):
        q = k = convolved(core, episode[: t + 1])
        v = episode[t]
        both = torch.cat([q, k, v])
        i = core.igate.weight @ both + core.igate.bias
        f = F.logsigmoid(core.fgate.weight @ both + core.fgate.bias)
        h = []
        for head in range(N):
            part = slice(head * D, (head + 1) * D)
            key = k[part] / D**0.5
            top = torch.maximum(f[head] + m[head], i[head])
            forget, write = torch.exp(f[head] + m[head] - top), torch.exp(i[head] - top)
            c[head] = forget * c[head] + write * torch.outer(key, v[part])
            n[head] = forget * n[head] + write * key
            m[head] = top
            norm = torch.maximum((q[part] @ n[head]).abs(), torch.exp(-top)) + 1e-6
            h.append(q[part] @ c[head] / norm)
        outputs.append(head_norm(core, torch.cat(h)))
    return torch.stack(outputs)


def slstm(core: Any, episode: Tensor) -> Tensor:
    """The same, eqs. 8-18."""
    y, c, n, m = (torch.zeros(H, dtype=F64) for _ in range(4))
    outputs = []
    for t in range(len(episode)):
        a, x = convolved(core, episode[: t + 1]), episode[t]
        gates = []
        for index, (source, weight) in enumerate(((a, core.igate), (a, core.fgate), (x, core.zgate), (x, core.ogate))):
            of_heads = [
                weight[head] @ source.view(N, D)[head] + core.recurrent_kernel[head, index] @ y.view(N, D)[head]
                for head in range(N)
            ]
            gates.append(torch.cat(of_heads) + core.bias[index])
        i, f, z, o = gates
        kept = m + F.logsigmoid(f)
        m = torch.where(n == 0, i, torch.maximum(i, kept))
        write, forget = torch.exp(i - m).clamp(max=1), torch.exp(kept - m).clamp(max=1)
        c, n = forget * c + write * torch.tanh(z), forget * n + write
        y = torch.sigmoid(o) * c / (n + 1e-6)
        outputs.append(head_norm(core, y))
    return torch.stack(outputs)


def axon(core: Any, episode: Tensor) -> Tensor:
    """arXiv 2409.01449, in complex numbers."""
    r, angle = torch.exp(-torch.exp(core.nu_log)), torch.exp(core.theta_log)
    c, outputs = torch.zeros(H, dtype=torch.complex128), []
    for x in episode:
        u = core.input_proj.weight @ x
        c = torch.polar(r, angle) * c + torch.sqrt(1 - r**2) * torch.complex(core.w1, core.w2) * u
        both = F.silu(torch.cat([c.real, c.imag]))
        outputs.append(core.out_proj.weight @ both + core.out_proj.bias)
    return torch.stack(outputs)


MEMORY = 3


def xl(core: Any, episode: Tensor) -> Tensor:
    """arXiv 1901.02860 §3.3: the query at p sees max(0, p - MEMORY) … p."""
    outputs = []
    frequency = 10000 ** (-torch.arange(0, H, 2, dtype=F64) / H)
    for p in range(len(episode)):
        seen = range(max(0, p - MEMORY), p + 1)
        query = F.linear(episode[p], core.q_proj.weight, core.q_proj.bias).view(N, D)
        heads = []
        for head in range(N):
            part = slice(head * D, (head + 1) * D)
            scores, values = [], []
            for j in seen:
                key = (core.k_proj.weight @ episode[j] + core.k_proj.bias)[part]
                angles = (p - j) * frequency
                position = (core.r_proj.weight @ torch.cat([angles.sin(), angles.cos()]))[part]
                content = (query[head] + core.u[head]) @ key
                scores.append((content + (query[head] + core.v[head]) @ position) / D**0.5)
                values.append((core.v_proj.weight @ episode[j] + core.v_proj.bias)[part])
            heads.append(torch.softmax(torch.stack(scores), 0) @ torch.stack(values))
        outputs.append(core.o_proj.weight @ torch.cat(heads) + core.o_proj.bias)
    return torch.stack(outputs)


CORES: dict[str, tuple[Any, Callable[[Any, Tensor], Tensor]]] = {
    "M": (mLSTMCoreConfig(hidden_size=H, num_heads=N, chunk_size=4), mlstm),
    "S": (sLSTMCoreConfig(hidden_size=H, num_heads=N), slstm),
    "A": (AxonCoreConfig(hidden_size=H, activation="silu"), axon),
    "X": (XLCoreConfig(hidden_size=H, n_heads=N, mem_len=MEMORY), xl),
}


@pytest.mark.parametrize("backend", ["reference", "eager"])
@pytest.mark.parametrize("name", CORES)
def test_equals_the_equations(name: str, backend: str) -> None:
    """Outputs with resets inside, as a sequence and step by step; the gradient of x by finite differences."""
    config, by_hand = CORES[name]
    torch.manual_seed(0)
    core = cortexc.compile(config, backend=backend, dtype=F64)
    with torch.no_grad():
        for p in core.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.randn(B, T, H, dtype=F64, requires_grad=True)
    resets = torch.zeros(B, T, dtype=torch.bool)
    resets[0, 3] = resets[1, 5] = resets[1, 6] = True
    rows = []
    for row in range(B):
        starts = [0, *(t for t in range(1, T) if resets[row, t]), T]
        with torch.no_grad():
            rows.append(torch.cat([by_hand(core, x[row, a:b]) for a, b in pairwise(starts)]))
    expected = torch.stack(rows)
    y, _ = core(x, resets=resets)
    assert_close(y, expected)
    state, steps = None, []
    for t in range(T):
        out, state = core.step(x[:, t], state, resets=resets[:, t])
        steps.append(out)
    assert_close(torch.stack(steps, 1), expected)
    assert torch.autograd.gradcheck(lambda x: core(x, resets=resets)[0], x, fast_mode=True)

"""Where the scaffolds drop, against their equations written out with masks drawn in Python's integers. Covers S2-S5."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional as F

import cortexc
from cortexc import CompiledStack
from cortexc.cortex_dsl import (
    CausalConv1dCoreConfig,
    PostUpGatedScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpGatedScaffoldConfig,
    PreUpScaffoldConfig,
)
from cortexc.kernels.dropout.reference import keeps

from ..tolerances import assert_close
from .contract import ROWS, WIDTH, inputs

STEPS = 13
F64 = torch.float64


def kept_units(stack: CompiledStack, site: str, width: int, p: float) -> tuple[TensorDict, Tensor]:
    """A fresh state and the factors of its masks ``[B, 1, width]``, drawn in Python's integers."""
    state, place = stack.init_state(ROWS), zlib.crc32(site.encode())
    kept = torch.tensor([[keeps(key, place, c, p) for c in range(width)] for key in state["dropout"].tolist()])
    assert 0 < kept.double().mean() < 1
    return state, kept[:, None].double() / (1 - p)


@pytest.mark.parametrize("gated", [False, True])
def test_preup_drops_before_the_projection_back(gated: bool) -> None:
    """S2, S3: W_out dropout((core + skip ⊙ SiLU(a)) ⊙ SiLU(z)), written out; the core's state is untouched."""
    kind = PreUpGatedScaffoldConfig if gated else PreUpScaffoldConfig
    config = kind(core=CausalConv1dCoreConfig(kernel_size=0), dropout=0.4)
    stack = off_the_start(cortexc.compile(config, d_hidden=WIDTH, backend="eager", dtype=F64))
    x, (state, factors) = inputs(STEPS, F64).cpu(), kept_units(stack, "up-projected", 2 * WIDTH, 0.4)
    normed = F.layer_norm(x, (WIDTH,), stack.norm.weight)
    a, z = F.linear(normed, stack.in_proj.weight, stack.in_proj.bias).chunk(2, -1)
    inner = (F.silu(a) + stack.learnable_skip * F.silu(a)) * F.silu(z)
    path = F.linear(inner * factors, stack.out_proj.weight, stack.out_proj.bias)
    assert_close(stack(x, state)[0], gate(stack.gate, x, path) if gated else x + path)


@pytest.mark.parametrize("gated", [False, True])
def test_postup_drops_inside_the_feed_forward(gated: bool) -> None:
    """S4, S5: W_2 dropout(SiLU(W_1 LN(y'))), written out."""
    kind = PostUpGatedScaffoldConfig if gated else PostUpScaffoldConfig
    config = kind(core=CausalConv1dCoreConfig(kernel_size=0), dropout=0.4)
    stack = off_the_start(cortexc.compile(config, d_hidden=WIDTH, backend="eager", dtype=F64))
    x, (state, factors) = inputs(STEPS, F64).cpu(), kept_units(stack, "feed forward", int(1.5 * WIDTH), 0.4)
    core = F.layer_norm(x, (WIDTH,), stack.norm1.weight)
    y = gate(stack.gate1, x, core) if gated else x + core
    inner = F.silu(F.linear(F.layer_norm(y, (WIDTH,), stack.norm2.weight), stack.ffn_in.weight, stack.ffn_in.bias))
    path = F.linear(inner * factors, stack.ffn_out.weight, stack.ffn_out.bias)
    assert_close(stack(x, state)[0], gate(stack.gate2, y, path) if gated else y + path)


def off_the_start(stack: CompiledStack) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for p in stack.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return stack


def gate(p: Any, x: Tensor, y: Tensor) -> Tensor:
    """GTrXL's, spec §3."""
    r = torch.sigmoid(y @ p.Wr.weight.T + x @ p.Ur.weight.T)
    z = torch.sigmoid(y @ p.Wz.weight.T + x @ p.Uz.weight.T - p.bg)
    return (1 - z) * x + z * torch.tanh(y @ p.Wg.weight.T + (r * x) @ p.Ug.weight.T)

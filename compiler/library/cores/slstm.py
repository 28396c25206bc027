"""sLSTM: scalar memory with exponential gates and a recurrent matrix per head, arXiv 2405.04517 eqs. 8-18."""

from __future__ import annotations

from ....cortex_dsl import sLSTMCoreConfig
from ..builder import Builder, Ref
from ..recurrences import slstm as equations
from ..registry import part
from .conv import causal_conv


@part(sLSTMCoreConfig)
def slstm(b: Builder, cfg: sLSTMCoreConfig, x: Ref) -> Ref:
    """Gate inputs by per-head maps (i, f from the convolved input, z, o from the input), the recurrence of
    ``recurrences/slstm.py``, and a norm per head. Gate order i, f, z, o."""
    heads = cfg.num_heads
    width = x.width // heads
    a = b.op("silu", causal_conv(b, "conv1d", x, cfg.conv1d_kernel_size)) if cfg.conv1d_kernel_size else x
    std = (2 / (5 * width)) ** 0.5
    i, f, z, o = (b.param(f"{g}gate", (heads, width, width), "normal", std) for g in "ifzo")
    recurrent = b.param("recurrent_kernel", (heads, 4, width, width), "constant", 0)
    bias = b.param("bias", (4, x.width), "slstm_bias", heads)
    gates = b.op("cat", b.op("head_linear", a, i, f), b.op("head_linear", x, z, o), axis=-2, hint="gates") + bias
    states = [b.state(name, (x.width,)) for name in ("y", "c", "n", "m")]
    (y,) = b.recurrence(equations, gates, weight=recurrent, states=states)
    return b.op("head_norm", y, b.param("outnorm.weight", (x.width,), "constant", 1), heads=heads)

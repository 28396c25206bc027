"""mLSTM: matrix memory with exponential gates, arXiv 2405.04517 eqs. 19-27; chunkwise form arXiv 2503.14376."""

from __future__ import annotations

from ....cortex_dsl import mLSTMCoreConfig
from ..builder import Builder, Ref
from ..registry import part
from .conv import causal_conv


@part(mLSTMCoreConfig)
def mlstm(b: Builder, cfg: mLSTMCoreConfig, x: Ref) -> Ref:
    """q = k = SiLU(conv(x)), v = x; gates are linear in [q, k, v]; a norm per head at the end."""
    heads = cfg.num_heads
    width = x.width // heads
    a = b.op("silu", causal_conv(b, "conv1d", x, cfg.conv1d_kernel_size)) if cfg.conv1d_kernel_size else x
    qkv = b.op("cat", a, a, x, hint="qkv")
    i = b.linear("igate", qkv, heads, rule="constant", args=(0,), bias_rule="normal", bias_args=(0.1,))
    f = b.linear("fgate", qkv, heads, rule="constant", args=(0,), bias_rule="linspace", bias_args=(3, 6))
    c = b.state("c", (heads, width, width))
    n = b.state("n", (heads, width, 1))
    m = b.state("m", (heads, 1, 1))
    q = b.op("unflatten", a, sizes=(heads, width), hint="q")
    v = b.op("unflatten", x, sizes=(heads, width), hint="v")
    chunk = {} if b.step else {"chunk_size": cfg.chunk_size}
    h, *after = b.temporal("mlstm", q, q, v, i, f, c, n, m, hints=("h", "c", "n", "m"), **chunk)
    for slot, value in zip((c, n, m), after, strict=True):
        b.carry(slot, value)
    y = b.op("flatten", h, join=2, hint="h_flat")
    return b.op("head_norm", y, b.param("outnorm.weight", (x.width,), "constant", 1), heads=heads)

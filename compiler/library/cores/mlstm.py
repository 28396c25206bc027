"""mLSTM: matrix memory with exponential gates, arXiv 2405.04517 eqs. 19-27; chunkwise form arXiv 2503.14376."""

from __future__ import annotations

from ....cortex_dsl import mLSTMCoreConfig
from ..builder import Builder, Ref
from ..registry import part
from .axon_layer import axon_layer
from .conv import causal_conv


@part(mLSTMCoreConfig)
def mlstm(b: Builder, cfg: mLSTMCoreConfig, x: Ref) -> Ref:
    """q = k = SiLU(conv(x)), v = x; gates are linear in [q, k, v]; a norm per head at the end.

    ``use_axon_qkv``: q = k = SiLU(AxonLayer(SiLU(conv(x)))), v = AxonLayer(x), states ``mlstm_qkv/qk`` and ``/v``.
    ``use_axon_layer``: the gates are AxonLayers, states ``mlstm/igate`` and ``/fgate``."""
    heads = cfg.num_heads
    width = x.width // heads
    a = b.op("silu", causal_conv(b, "conv1d", x, cfg.conv1d_kernel_size))
    if cfg.use_axon_qkv:
        a = b.op("silu", axon_layer(b, "qk_layer", a, x.width, group="mlstm_qkv", state="qk"))
        x = axon_layer(b, "v_layer", x, x.width, group="mlstm_qkv", state="v")
    qkv = b.op("cat", a, a, x, hint="qkv")
    i, f = _gate(b, cfg, "igate", qkv, "normal", 0.1), _gate(b, cfg, "fgate", qkv, "linspace", 3, 6)
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


def _gate(b: Builder, cfg: mLSTMCoreConfig, name: str, qkv: Ref, bias_rule: str, *bias_args: float) -> Ref:
    """One gate for each head, starting at its bias."""
    if not cfg.use_axon_layer:
        return b.linear(name, qkv, cfg.num_heads, rule="constant", args=(0,), bias_rule=bias_rule, bias_args=bias_args)
    return axon_layer(
        b, name, qkv, cfg.num_heads, group="mlstm", rule="constant", args=(0,), bias_rule=bias_rule, bias_args=bias_args
    )

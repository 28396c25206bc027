"""sLSTM: scalar memory with exponential gates and a recurrent matrix per head, arXiv 2405.04517 eqs. 8-18."""

from __future__ import annotations

from ....cortex_dsl import sLSTMCoreConfig
from ..builder import Builder, Ref
from ..dropout import drop
from ..recurrences import slstm as equations
from ..registry import part
from .axon_layer import axon_layer
from .conv import causal_conv


@part(sLSTMCoreConfig)
def slstm(b: Builder, cfg: sLSTMCoreConfig, x: Ref) -> Ref:
    """Gate inputs (i, f from the convolved input, z, o from the input), the recurrence of ``recurrences/slstm.py``,
    dropout, and a norm per head. Gate order i, f, z, o. The recurrence goes on from y as it was."""
    heads = cfg.num_heads
    a = b.op("silu", causal_conv(b, "conv1d", x, cfg.conv1d_kernel_size))
    first, second = (_axon_gates if cfg.use_axon_layer else _head_gates)(b, heads, a, x)
    recurrent = b.param("recurrent_kernel", (heads, 4, x.width // heads, x.width // heads), "constant", 0)
    bias = b.param("bias", (4, x.width), "slstm_bias", heads)
    gates = b.op("cat", first, second, axis=-2, hint="gates") + bias
    states = [b.state(name, (x.width,)) for name in ("y", "c", "n", "m")]
    (y,) = b.recurrence(equations, gates, weight=recurrent, states=states)
    y = drop(b, y, cfg.dropout, "output")
    return b.op("head_norm", y, b.param("outnorm.weight", (x.width,), "constant", 1), heads=heads)


def _head_gates(b: Builder, heads: int, a: Ref, x: Ref) -> tuple[Ref, Ref]:
    """[i, f] and [z, o], ``[.., 2, H]`` each, by maps of every head to itself."""
    width = x.width // heads
    std = (2 / (5 * width)) ** 0.5
    i, f, z, o = (b.param(f"{g}gate", (heads, width, width), "normal", std) for g in "ifzo")
    return b.head_map(a, i, f), b.head_map(x, z, o)


def _axon_gates(b: Builder, heads: int, a: Ref, x: Ref) -> tuple[Ref, Ref]:
    """[i, f] = AxonLayer(a) and [z, o] = AxonLayer(x), H -> 2H; states ``slstm/if_fused`` and ``slstm/zo_fused``."""
    width = x.width
    pairs = (axon_layer(b, name, of, 2 * width, group="slstm") for name, of in (("if_fused", a), ("zo_fused", x)))
    first, second = (b.op("unflatten", p, sizes=(2, width)) for p in pairs)
    return first, second

"""Scaffolds whose paths are joined by gates: PreUpGated, PostUpGated."""

from __future__ import annotations

from ....cortex_dsl import PostUpGatedScaffoldConfig, PreUpGatedScaffoldConfig
from ..builder import Builder, Ref
from ..registry import build_core, part
from .parts import feed_forward, gate, pre_up


@part(PreUpGatedScaffoldConfig)
def pre_up_gated(b: Builder, cfg: PreUpGatedScaffoldConfig, x: Ref) -> Ref:
    """y = Gate(x, W_out dropout((core(…) + skip ⊙ SiLU(a)) ⊙ SiLU(z)))"""
    return gate(b, "gate", x, pre_up(b, cfg, x), cfg.gru_bias)


@part(PostUpGatedScaffoldConfig)
def post_up_gated(b: Builder, cfg: PostUpGatedScaffoldConfig, x: Ref) -> Ref:
    """y' = Gate(x, core(LN(x))); y = Gate(y', W_2 dropout(SiLU(W_1 LN(y'))))"""
    y = gate(b, "gate1", x, build_core(b, cfg.core, b.layer_norm("norm1", x)), cfg.gru_bias)
    return gate(b, "gate2", y, feed_forward(b, cfg, b.layer_norm("norm2", y), x.width), cfg.gru_bias)

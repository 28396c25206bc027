"""Scaffolds with plain residual paths: PassThrough, PreUp, PostUp."""

from __future__ import annotations

from ....cortex_dsl import PassThroughScaffoldConfig, PostUpScaffoldConfig, PreUpScaffoldConfig
from ..builder import Builder, Ref
from ..registry import build_core, part
from .parts import feed_forward, pre_up


@part(PassThroughScaffoldConfig)
def pass_through(b: Builder, cfg: PassThroughScaffoldConfig, x: Ref) -> Ref:
    """y = x + core(x)"""
    y = build_core(b, cfg.core, x)
    return x + y if cfg.residual else y


@part(PreUpScaffoldConfig)
def pre_up_plain(b: Builder, cfg: PreUpScaffoldConfig, x: Ref) -> Ref:
    """y = x + W_out dropout((core(SiLU(a)) + skip ⊙ SiLU(a)) ⊙ SiLU(z)), [a, z] = W_in LN(x)"""
    return x + pre_up(b, cfg, x)


@part(PostUpScaffoldConfig)
def post_up(b: Builder, cfg: PostUpScaffoldConfig, x: Ref) -> Ref:
    """y' = x + core(LN(x)); y = y' + W_2 dropout(SiLU(W_1 LN(y')))"""
    y = x + build_core(b, cfg.core, b.layer_norm("norm1", x))
    return y + feed_forward(b, cfg, b.layer_norm("norm2", y), x.width)

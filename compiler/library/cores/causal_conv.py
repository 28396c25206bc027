"""Causal convolution over time as a core."""

from __future__ import annotations

from ....cortex_dsl import CausalConv1dCoreConfig
from ..builder import Builder, Ref
from ..registry import part
from .conv import causal_conv


@part(CausalConv1dCoreConfig)
def conv(b: Builder, cfg: CausalConv1dCoreConfig, x: Ref) -> Ref:
    """``y_t = bias + Σ_{k<K} w_k x_{t-K+1+k}``, a channel by itself or, with ``channel_mixing``, all with all."""
    return causal_conv(b, "conv", x, cfg.kernel_size, bias=cfg.causal_conv_bias, mixing=cfg.channel_mixing)

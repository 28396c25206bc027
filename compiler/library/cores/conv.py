"""The causal convolution that other cores put in front of their gates."""

from __future__ import annotations

from ..builder import Builder, Ref


def causal_conv(b: Builder, name: str, x: Ref, kernel_size: int) -> Ref:
    """Depthwise ``y_t = bias + Σ_k w_k x_{t-K+1+k}``; the last K inputs are carried as ``conv [B, K, H]``."""
    if not kernel_size:
        return x
    weight = b.param(f"{name}.weight", (x.width, 1, kernel_size), "uniform", -(kernel_size**-0.5), kernel_size**-0.5)
    bias = b.param(f"{name}.bias", (x.width,), "uniform", -(kernel_size**-0.5), kernel_size**-0.5)
    buffer = b.state("conv", (kernel_size, x.width), dtype="f")
    y, after = b.temporal("causal_conv", x, buffer, weight, bias, hints=("conv", "conv_buffer"))
    b.carry(buffer, after)
    return y

"""The causal convolution, as a core and as what other cores put in front of their gates."""

from __future__ import annotations

from ..builder import Builder, Ref


def causal_conv(b: Builder, name: str, x: Ref, kernel_size: int, *, bias: bool = True, mixing: bool = False) -> Ref:
    """``y_t = bias + Σ_k w_k x_{t-K+1+k}``; the last K inputs are carried as ``conv [B, K, H]``. K = 0 is the identity.

    Depthwise, or dense over the channels with ``mixing``; parameters start as torch.nn.Conv1d's."""
    if not kernel_size:
        return x
    inputs = x.width if mixing else 1
    bound = (inputs * kernel_size) ** -0.5
    weight = b.param(f"{name}.weight", (x.width, inputs, kernel_size), "uniform", -bound, bound)
    offset = b.param(f"{name}.bias", (x.width,), "uniform", -bound, bound) if bias else None
    buffer = b.state("conv", (kernel_size, x.width), dtype="f")
    y, after = b.temporal("causal_conv", x, buffer, weight, offset, hints=("conv", "conv_buffer"))
    b.carry(buffer, after)
    return y

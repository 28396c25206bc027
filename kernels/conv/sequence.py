"""Causal convolution of a whole sequence at once, and of one step.

Notation: B rows, T steps, H channels, K taps. Few taps: each is one shifted slice of [carried window, inputs], so the
whole is K multiply-adds (depthwise) or one matrix product (channel mixing), with nothing transposed. Every tap asks by
itself whether its input belongs to the episode of the output, so resets are exact selections.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..pointwise.region import runs_on_triton
from ..segments import reset_state
from .depthwise import depthwise


def causal_conv(
    x: Tensor, buffer: Tensor, weight: Tensor, bias: Tensor | None = None, segments: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y_t = bias + sum_k weight_k x_{t-K+1+k}, over the inputs of the episode only.

    x: [B, T, H]; buffer: [B, K, H], the last K inputs, oldest first, zeros before the start of the episode;
    weight: [H, 1, K] (depthwise, the layout of torch's Conv1d) or [H, H, K] (channel mixing); bias: [H] or None;
    segments: int64 [B, T] or None. Returns y [B, T, H] and the next buffer [B, K, H]. K = 0 is the identity.
    """
    kernel, steps = weight.shape[-1], x.shape[1]
    if kernel == 0:
        return x, buffer
    if weight.shape[1] == 1 and not torch.compiler.is_compiling() and runs_on_triton(x):
        return depthwise(x, buffer, weight, bias, segments)
    window = torch.cat([buffer.to(x.dtype), x], 1)  # [B, K+T, H]; the output at t reads window[t+1 .. t+K]
    taps = [window[:, k + 1 : k + 1 + steps] for k in range(kernel)]
    if segments is not None:
        ids = F.pad(segments, (kernel, 0))  # the carried window belongs to segment 0
        for k in range(kernel - 1):  # the last tap reads the step's own input
            seen = ids[:, k + 1 : k + 1 + steps] == segments
            taps[k] = torch.where(seen[..., None], taps[k], 0)
        kept = torch.where((ids[:, steps:] == ids[:, -1:])[..., None], window[:, steps:], 0)
    else:
        kept = window[:, steps:].contiguous()
    return _apply(taps, weight, bias), kept.to(buffer.dtype)


def causal_conv_step(
    x: Tensor, buffer: Tensor, weight: Tensor, bias: Tensor | None = None, resets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One step of `causal_conv`. x: [B, H]; resets: bool [B] or None. Returns y [B, H] and buffer' [B, K, H]."""
    kernel = weight.shape[-1]
    if kernel == 0:
        return x, buffer
    kept = torch.cat([reset_state(buffer, resets)[:, 1:], x[:, None].to(buffer.dtype)], 1)
    window = kept.to(x.dtype)
    if weight.shape[1] == 1:
        taps = weight[:, 0].T.to(x.dtype, memory_format=torch.contiguous_format)  # [K, H], read along H
        y = (window * taps).sum(1)
        return (y if bias is None else y + bias.to(x.dtype)), kept
    return _apply(list(window.unbind(1)), weight, bias), kept


def _apply(taps: list[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
    """sum_k weight_k taps[k] + bias, for K taps of shape [..., H]."""
    dtype = taps[0].dtype
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if weight.shape[1] != 1:
        return F.linear(torch.cat(taps, -1), weight.transpose(1, 2).flatten(1), bias)
    y = taps[0] * weight[:, 0, 0] if bias is None else torch.addcmul(bias, taps[0], weight[:, 0, 0])
    for k in range(1, len(taps)):
        y = torch.addcmul(y, taps[k], weight[:, 0, k])
    return y

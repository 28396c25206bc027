"""Causal convolution as a plain loop over time: the oracle of `sequence.py`.

    y_t = b + sum_{k<K} w_k x_{t-K+1+k}        (spec: core `C`)

The state is the window of the last K inputs of the episode, oldest first, zeros where the episode is shorter.
"""

from __future__ import annotations

import torch
from torch import Tensor


def causal_conv_reference(
    x: Tensor, buffer: Tensor, weight: Tensor, bias: Tensor | None = None, segments: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Shapes as in `sequence.causal_conv`."""
    kernel = weight.shape[-1]
    depthwise = weight.shape[1] == 1
    before = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
    outputs = []
    for t in range(x.shape[1]):
        if segments is not None:
            fresh = segments[:, t] != before
            buffer = torch.where(fresh[:, None, None], torch.zeros_like(buffer), buffer)
            before = segments[:, t]
        if kernel == 0:
            outputs.append(x[:, t])
            continue
        buffer = torch.cat([buffer[:, 1:], x[:, t : t + 1]], 1)
        if depthwise:
            y = torch.stack([weight[:, 0, k] * buffer[:, k] for k in range(kernel)]).sum(0)
        else:
            y = torch.stack([buffer[:, k] @ weight[:, :, k].T for k in range(kernel)]).sum(0)
        outputs.append(y if bias is None else y + bias)
    return torch.stack(outputs, 1), buffer

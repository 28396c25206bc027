"""``y[…, g, n·D + o] = Σ_d w_g[n, o, d] · x[…, n·D + d]``: block-diagonal linear maps, as the gates of an sLSTM use
them."""

from __future__ import annotations

import torch
from torch import Tensor


def head_linear(x: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """x ``[…, N·D]``, each weight ``[N, D, D]`` (out, in) -> ``[…, G, N·D]`` for G weights."""
    heads, _, width = weights[0].shape
    stacked = torch.stack(weights)  # [G, N, O, D]
    y = torch.einsum("...nd,gnod->...gno", x.unflatten(-1, (heads, width)), stacked)
    return y.flatten(-2)

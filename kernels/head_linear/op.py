"""``y[…, g, n·D + o] = Σ_d w_g[n, o, d] · x[…, n·D + d]``: block-diagonal linear maps, as the gates of an sLSTM use
them."""

from __future__ import annotations

import torch
from torch import Tensor


def head_linear(x: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """x ``[…, N·D]``, each weight ``[N, D, D]`` (out, in) -> ``[…, G, N·D]`` for G weights.

    On a GPU one product with the weights side by side: a launch costs more than copying them. On a CPU a product for
    each, which reads them where they are.
    """
    heads, _, width = weights[0].shape
    if x.is_cuda or torch.compiler.is_compiling():
        y = torch.einsum("...nd,gnod->...gno", x.unflatten(-1, (heads, width)), torch.stack(weights))
        return y.flatten(-2)
    rows = x.reshape(-1, heads, width).transpose(0, 1)  # [N, R, D]
    maps = [torch.bmm(rows, w.transpose(1, 2)).transpose(0, 1) for w in weights]  # [R, N, D] each
    return torch.stack(maps, 1).view(*x.shape[:-1], len(weights), heads * width)

"""The adapter row by row, each with its weights merged: the oracle of ``op.py``."""

from __future__ import annotations

import torch
from torch import Tensor


def routed_adapter_reference(
    y: Tensor, x: Tensor, down: Tensor, up: Tensor, routes: Tensor | None, scale: float
) -> Tensor:
    """Shapes as in ``op.routed_adapter``."""
    if routes is None:
        return y
    rows = []
    for row, slot in enumerate(routes.tolist()):
        delta = scale * (up[slot] @ down[slot])  # [..., O, I]
        own = x[row].unflatten(-1, (*delta.shape[:-2], delta.shape[-1]))  # [..., heads, I]
        rows.append(y[row] + torch.einsum("...i,...oi->...o", own, delta).reshape(y[row].shape))
    return torch.stack(rows)

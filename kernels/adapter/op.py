"""``y + scale · B_s A_s x`` for the slot s of each row, as two batched products; and what that makes of a weight.

Notation: B rows, S slots, R rank, I inputs and O outputs of a map, N heads of a map that keeps heads apart. A is
``down [S, R, I]`` (``[S, N, R, I]``), B is ``up [S, O, R]`` (``[S, N, O, R]``), ``routes`` int64 ``[B]``, in
``[0, S)``. None for ``routes`` is the map without its adapter.

The slots of a call are read as rows of an embedding: their gradient is added slot by slot, without a one-hot matrix
and on a GPU without atomics. An index out of range stops the gather itself (on a GPU by a device-side assertion: nobody
has to wait for the check).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..precision import accumulate_dtype, full_precision


def routed_adapter(y: Tensor, x: Tensor, down: Tensor, up: Tensor, routes: Tensor | None, scale: float) -> Tensor:
    """y: [B, ..., O], x: [B, ..., I] (with heads [B, ..., N·O] and [B, ..., N·I]). Returns y + scale · B_s A_s x."""
    if routes is None:
        return y
    a, b = _chosen(down, routes), _chosen(up, routes)
    if down.dim() == 3:
        out = y.reshape(y.shape[0], -1, y.shape[-1])
        low = torch.bmm(x.reshape(x.shape[0], -1, x.shape[-1]), a.transpose(1, 2))  # [B, ·, R]
        return torch.baddbmm(out, low, b.transpose(1, 2), alpha=scale).view(y.shape)
    heads = x.unflatten(-1, (a.shape[1], a.shape[-1]))
    low = torch.einsum("b...ni,bnri->b...nr", heads, a)
    return y + scale * torch.einsum("b...nr,bnor->b...no", low, b).flatten(-2)


def routed_weight(
    w: Tensor,
    down: Tensor,
    up: Tensor,
    routes: Tensor | None,
    scale: float,
    shape: tuple[int, ...] | None = None,
    drop: Tensor | None = None,
) -> Tensor:
    """The weight of each row, for ops that apply a weight themselves: [B, ..., O, I] = w + scale · B_s A_s, or
    [1, ..., O, I] where nobody has routes. ``shape`` is what a row's weight is seen as.

    w: [..., O, I]; drop: [B, I], what dropout multiplies the adapter's inputs by, or None. In float32 at least: a sum
    in bfloat16 would round the adapter away."""
    if routes is None:
        found = w[None]
    else:
        dtype = accumulate_dtype(w)
        a, b = _chosen(down, routes).to(dtype), _chosen(up, routes).to(dtype)
        if drop is not None:
            a = a * drop.view(drop.shape[0], *[1] * (a.dim() - 2), -1)
        with full_precision(w):
            found = w.to(dtype) + scale * (b @ a)
    return found if shape is None else found.view(-1, *shape)


def per_row(x: Tensor, like: Tensor) -> Tensor:
    """A value that all rows share, seen as one for each row of ``like``: [...] -> [B, ...], without a copy."""
    return x.expand(like.shape[0], *x.shape)


def _chosen(weights: Tensor, routes: Tensor) -> Tensor:
    """[S, ...] -> [B, ...]"""
    return F.embedding(routes, weights.flatten(1)).view(-1, *weights.shape[1:])

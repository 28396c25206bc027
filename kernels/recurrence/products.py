"""The products with recurrent matrices that need no loop: R y of all steps before a backward, dR after it."""

from __future__ import annotations

import torch
from torch import Tensor

from .._triton import INTERPRETED
from .cell import Cell

Tensors = tuple[Tensor, ...]


def operand(weight: Tensor | None) -> Tensors:
    """The matrices as the kernel reads them; none where nothing is recurrent."""
    return () if weight is None else (weight.to(operand_dtype(weight)).contiguous(),)


def operand_dtype(weight: Tensor) -> torch.dtype:
    """That of the weight; but the interpreter has no bfloat16 dot."""
    return torch.float32 if INTERPRETED and weight.dtype == torch.bfloat16 else weight.dtype


def recurrent_terms(weight: Tensor, y: Tensor) -> Tensor:
    """R y of every step: [N, B·T, gates·D], also where every row has matrices of its own."""
    heads, width = weight.shape[-4], weight.shape[-1]
    maps = weight.flatten(-3, -2).transpose(-2, -1)  # [(B,) N, D, gates·D]
    if weight.dim() == 4:
        return _product(_rows(y, heads), maps)
    by_row = y.unflatten(-1, (heads, width)).permute(2, 0, 1, 3)  # [N, B, T, D]
    return _product(by_row.flatten(0, 1), maps.transpose(0, 1).flatten(0, 1))


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Batched product in float32, as the forward's dot accumulated it.

    Rounded to the operands' dtype it could put the backward on another branch of a maximum than the forward took.
    """
    if left.dtype == torch.float32:
        return left @ right
    if left.is_cuda and torch.version.hip is None and "dtype" in torch.ops.aten.bmm.overloads():
        return torch.bmm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def _rows(y: Tensor, heads: int) -> Tensor:
    """[B, T, H] as [N, B·T, D], a view."""
    return y.reshape(-1, heads, y.shape[-1] // heads).transpose(0, 1)


def weight_gradient(cell: Cell, weight: Tensor, d_x: Tensor, d_r: Tensor, y: Tensor) -> Tensor:
    """Sum over rows and steps of d r ⊗ y: [N, gates, D, D]; of each row, [B, N, gates, D, D].

    One product of a head and a gate is small and long, and leaves most of the device idle: all gates go as one batch.
    """
    heads, width = weight.shape[-4], weight.shape[-1]
    own = iter(range(d_r.shape[2]))
    if all(cell.shared) and cell.gates == tuple(range(d_x.shape[2])):
        d = d_x
    else:
        d = torch.stack(
            [
                d_x[:, :, g] if shared else d_r[:, :, next(own)]
                for g, shared in zip(cell.gates, cell.shared, strict=True)
            ],
            2,
        )
    gates = d.shape[2]
    left = d.to(weight.dtype).unflatten(-1, (heads, width))  # [B, T, gates, N, D]
    right = y.unflatten(-1, (heads, width))[:, :, None].expand(left.shape)
    if weight.dim() == 5:
        found = left.permute(0, 2, 3, 4, 1) @ right.permute(0, 2, 3, 1, 4)  # [B, gates, N, D, D]
        return found.transpose(1, 2).contiguous()
    left, right = (t.reshape(-1, gates * heads, width).transpose(0, 1) for t in (left, right))
    found = torch.bmm(left.transpose(1, 2), right).unflatten(0, (gates, heads))
    return found.transpose(0, 1).contiguous()

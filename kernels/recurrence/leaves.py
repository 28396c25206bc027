"""The tensors of a call as the generated torch functions take them: one for each variable, made to broadcast.

Without heads every variable is [..., H]. With heads it is [..., N, E, D], N heads of E features and D channels, with 1
for an axis that it has not: what a head shares meets its channels by broadcasting, and what meets is summed on the way
back. `...` is [B, T], or [B] for one step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..precision import cast
from .cell import Cell, Inputs

Tensors = tuple[Tensor, ...]
Values = Sequence[Tensor | float]  # a number stands for a tensor of it


def inputs_of(cell: Cell, inputs: Inputs, dtype: torch.dtype) -> Tensors:
    """Every input, in the order of the cell."""
    x = cast(inputs.x, dtype)
    if not cell.headed:
        return x.unbind(-2)
    kinds = {"d": x.unsqueeze(-2).unbind(-3) if "d" in cell.input_axes else ()}
    rest = iter(inputs.beside)
    if "e" in cell.input_axes:
        kinds["e"] = cast(next(rest), dtype).unsqueeze(-1).unbind(-3)
    if "" in cell.input_axes:
        kinds[""] = cast(next(rest), dtype)[..., None, None].unbind(-3)
    streams = {axes: iter(values) for axes, values in kinds.items()}
    return tuple(next(streams[axes]) for axes in cell.input_axes)


def hoisted_of(cell: Cell, inputs: Inputs) -> Tensors:
    """What depends on parameters alone."""
    found = inputs.hoist(cell)
    return tuple(h.view(inputs.x.shape[-3], 1, -1) for h in found) if cell.headed else found


def opened(cell: Cell, index: int, value: Tensor) -> Tensor:
    """A state variable, an output or a total as it is given -> as it is computed with."""
    if not cell.headed:
        return value
    axes = cell.axes(index)
    return value[..., None, None] if not axes else value.unsqueeze(-2) if axes == "d" else value


def closed(cell: Cell, index: int, value: Tensor) -> Tensor:
    """The inverse of `opened`."""
    if not cell.headed:
        return value
    axes = cell.axes(index)
    return value[..., 0, 0] if not axes else value.squeeze(-2) if axes == "d" else value


def spread(mask: Tensor, like: Tensor) -> Tensor:
    """A mask [B] or [B, T] against values with more axes."""
    return mask.view(*mask.shape, *[1] * (like.dim() - mask.dim()))


def shape_of(cell: Cell, index: int, inputs: Inputs) -> tuple[int, ...]:
    """Of one step of a variable as it is given: [H], or [N, D], [N, E, D], [N]."""
    if index < len(cell.state):
        return tuple(inputs.state[index].shape[1:])
    *_, heads, _, width = inputs.x.shape
    if not cell.headed:
        return (width,)
    return (heads, width) if cell.axes(index) == "d" else (heads,)


def reduced(value: Tensor, axes: str) -> Tensor:
    """An adjoint [..., N, E or 1, D or 1] summed over the axes that its variable has not."""
    gone = [at for name, at in (("e", -2), ("d", -1)) if name not in axes and value.shape[at] != 1]
    return value.sum(gone, keepdim=True) if gone else value


def input_gradients(cell: Cell, inputs: Inputs, found: Sequence[Values]) -> tuple[Tensor, Tensors]:
    """Gradients of x and of what stands beside it, from lists of adjoints of the learned inputs, which are added up."""
    sums = [_sum([values[i] for values in found], cell, inputs, i) for i in range(len(cell.learned))]
    if not cell.headed:
        return torch.stack(sums, dim=-2).to(inputs.x.dtype), ()
    own = {axes: [s for s, i in zip(sums, cell.learned, strict=True) if cell.input_axes[i] == axes] for axes in "de"}
    x = torch.stack([s.squeeze(-2) for s in own["d"]], dim=-2).to(inputs.x.dtype) if own["d"] else None
    beside = [torch.stack([s.squeeze(-1) for s in own["e"]], dim=-2).to(inputs.beside[0].dtype)] if own["e"] else []
    assert x is not None
    return x, tuple(beside)


def _sum(parts: Values, cell: Cell, inputs: Inputs, place: int) -> Tensor:
    axes = cell.input_axes[cell.learned[place]]
    tensors = [reduced(p, axes) if cell.headed else p for p in parts if isinstance(p, Tensor)]
    lead, size = inputs.x.shape[:-2], inputs.x.shape[-1]
    if cell.headed:
        shape: tuple[int, ...] = (*lead, 1, size) if axes == "d" else (*lead, inputs.beside[0].shape[-1], 1)
    else:
        shape = (*lead, size)
    if not tensors:
        return inputs.x.new_zeros(shape, dtype=inputs.compute_dtype)
    return sum(tensors[1:], start=tensors[0]).expand(shape)


def value_gradients(cell: Cell, inputs: Inputs, found: Sequence[Values]) -> Tensors:
    """Gradients of the hoisted values [H], summed over rows and steps, from lists of their adjoints."""
    width = inputs.params[0].shape[0] if inputs.params else 0
    totals = []
    for place in range(len(cell.hoisted)):
        total = inputs.x.new_zeros(width, dtype=inputs.compute_dtype)
        for part in (values[place] for values in found):
            if isinstance(part, Tensor):
                part = reduced(part, "d") if cell.headed else part
                total = total + part.flatten(0, 1).sum(0).reshape(-1)
        totals.append(total)
    return tuple(totals)

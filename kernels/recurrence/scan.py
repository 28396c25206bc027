"""Recurrences that are affine in the state and diagonal, in torch: a scan by doubling, log2(T) passes and no loop.

Step t is s_t = A_t s_{t-1} + b_t with a k×k matrix per channel. Two steps compose to (A_2 A_1, A_2 b_1 + b_2); after j
passes b_t holds the last 2^j steps. A flag says "a reset lies in this window": then the later part is selected and
nothing of the earlier one is read, whatever it holds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import Backward, Cell, Forward, Inputs, compute_dtype, previous

Matrix = list[list[Tensor]]


def forward(cell: Cell, inputs: Inputs, keep: bool) -> Forward:
    x, dtype = inputs.x, compute_dtype(inputs.x)
    matrix, offset = _affine(cell, inputs, dtype)
    start = [torch.full_like(s, v, dtype=dtype) for s, v in zip(inputs.state, cell.initial, strict=True)]
    resets = inputs.resets
    if resets is not None and any(cell.initial):
        fresh = _apply(matrix, [s[:, None] for s in start], offset)
        offset = [torch.where(resets[:, :, None], f, b) for f, b in zip(fresh, offset, strict=True)]
    first = [[a[:, 0] if a.dim() == 3 else a for a in row] for row in matrix]
    opening = _apply(first, [s.to(dtype) for s in inputs.state], [b[:, 0] for b in offset])
    if resets is not None:
        opening = [torch.where(resets[:, :1], b[:, 0], o) for b, o in zip(offset, opening, strict=True)]
    offset = [torch.cat([o[:, None], b[:, 1:]], dim=1) for o, b in zip(opening, offset, strict=True)]
    states = _scan(matrix, offset, resets)
    outputs = tuple(states[i].to(x.dtype) for i in cell.outputs)
    last = tuple(s[:, -1].clone() for s in states)
    return Forward(outputs, last, tuple(states[i] for i in cell.kept) if keep else ())


def backward(
    cell: Cell, inputs: Inputs, kept: tuple[Tensor, ...], d_outputs: tuple[Tensor, ...], d_last: tuple[Tensor, ...]
) -> Backward:
    """The adjoint is the same scan run backwards with transposed matrices; then one `vjp` on all steps at once."""
    x, dtype = inputs.x, compute_dtype(inputs.x)
    rows, length, count, width = x.shape
    k = len(cell.state)
    matrix, _ = _affine(cell, inputs, dtype)
    # time reversed: place u is step T-1-u, its matrix is A of the step after, transposed
    turned = [[_shift_back(matrix[i][j]) for i in range(k)] for j in range(k)]
    flags = _shift_back(inputs.resets[:, :, None])[:, :, 0] if inputs.resets is not None else None
    driven = [torch.zeros(rows, length, width, dtype=dtype, device=x.device) for _ in range(k)]
    for i, d in zip(cell.outputs, d_outputs, strict=True):
        driven[i] = driven[i] + d.to(dtype).flip(1)
    for d, final in zip(driven, d_last, strict=True):
        d[:, 0] += final.to(dtype)
    adjoint = [d.flip(1) for d in _scan(turned, driven, flags)]
    new = dict(zip(cell.kept, kept, strict=True))
    before = [previous(cell, i, inputs, new[i]) if i in new else torch.zeros_like(adjoint[i]) for i in range(k)]
    found = cell.vjp(*x.to(dtype).unbind(2), *before, *inputs.hoist(cell), *adjoint)
    boundary = [d[:, 0] for d in found[count : count + k]]
    if inputs.resets is not None:
        boundary = [torch.where(inputs.resets[:, :1], 0.0, d) for d in boundary]
    return Backward(
        x=torch.stack(found[:count], dim=2).to(x.dtype),
        hoisted=tuple(d.sum((0, 1)) for d in found[count + k :]),
        weight=None,
        state=tuple(d.contiguous() for d in boundary),
    )


def _affine(cell: Cell, inputs: Inputs, dtype: torch.dtype) -> tuple[Matrix, list[Tensor]]:
    """A, entries [H] where it is the same at every step, else [B, T, H]; b [B, T, H]."""
    assert cell.affine is not None
    x = inputs.x.to(dtype)
    k = len(cell.state)
    made = cell.affine(*x.unbind(2), *inputs.hoist(cell))
    found = [v if isinstance(v, Tensor) else x.new_full((1,), v) for v in made]
    entries, offset = found[: k * k], found[k * k :]
    shape = (x.shape[0], x.shape[1], x.shape[3])
    if any(a.dim() == 3 for a in entries):
        entries = [a.expand(shape) for a in entries]
    return [entries[i * k : (i + 1) * k] for i in range(k)], [b.expand(shape) for b in offset]


def _apply(matrix: Matrix, vector: list[Tensor], offset: list[Tensor]) -> list[Tensor]:
    """A v + b."""
    return [
        sum((a * v for a, v in zip(row, vector, strict=True)), start=b) for row, b in zip(matrix, offset, strict=True)
    ]


def _product(left: Matrix, right: Matrix) -> Matrix:
    k = len(left)
    return [
        [sum((left[i][m] * right[m][j] for m in range(1, k)), start=left[i][0] * right[0][j]) for j in range(k)]
        for i in range(k)
    ]


def _scan(matrix: Matrix, offset: list[Tensor], flags: Tensor | None) -> list[Tensor]:
    """All states [B, T, H]; place 0 of `offset` is already the state there, its matrix is not read."""
    length, span = offset[0].shape[1], 1
    while span < length:
        late = [[a[:, span:] if a.dim() == 3 else a for a in row] for row in matrix]
        early = [b[:, :-span] for b in offset]
        joined = _apply(late, early, [b[:, span:] for b in offset])
        if flags is not None:
            cut = flags[:, span:, None]
            joined = [torch.where(cut, b[:, span:], j) for b, j in zip(offset, joined, strict=True)]
            flags = torch.cat([flags[:, :span], flags[:, span:] | flags[:, :-span]], dim=1)
        offset = [torch.cat([b[:, :span], j], dim=1) for b, j in zip(offset, joined, strict=True)]
        if matrix[0][0].dim() == 3:
            product = _product(late, [[a[:, :-span] for a in row] for row in matrix])
            matrix = [
                [torch.cat([a[:, :span], p], dim=1) for a, p in zip(row, found, strict=True)]
                for row, found in zip(matrix, product, strict=True)
            ]
        else:
            matrix = _product(matrix, matrix)
        span *= 2
    return offset


def _shift_back(values: Tensor) -> Tensor:
    """Time reversed, with what belongs to step t + 1 in the place of step t; place 0 is not read."""
    if values.dim() < 3:
        return values
    return values.roll(-1, dims=1).flip(1)

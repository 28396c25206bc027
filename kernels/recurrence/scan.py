"""Recurrences that are affine in the state and diagonal, in torch: all equations for all steps at once, and between
them what is left of the loop, s_t = A_t s_{t-1} + b_t (``solve``)."""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import Backward, Cell, Forward, Inputs, compute_dtype, previous
from .leaves import closed, hoisted_of, input_gradients, inputs_of, opened, spread, value_gradients
from .readout import Outside, read
from .solve import Matrix, apply, backwards, forwards


def forward(cell: Cell, inputs: Inputs, keep: bool) -> Forward:
    dtype = compute_dtype(inputs.x)
    x, hoisted = inputs_of(cell, inputs, dtype), hoisted_of(cell, inputs)
    state = [opened(cell, i, s.to(dtype)) for i, s in enumerate(inputs.state)]
    matrix, offset = _affine(cell, x, hoisted, state)
    start = [torch.full_like(s, v) for s, v in zip(state, cell.initial, strict=True)]
    resets = inputs.resets
    if resets is not None and any(cell.initial):
        fresh = apply(matrix, [s[:, None] for s in start], offset)
        offset = [torch.where(spread(resets, b), f, b) for f, b in zip(fresh, offset, strict=True)]
    first = {at: a[:, 0] if a.dim() == offset[0].dim() else a for at, a in matrix.items()}
    opening = apply(first, state, [b[:, 0] for b in offset])
    if resets is not None:
        now = resets[:, 0]
        opening = [torch.where(spread(now, o), b[:, 0], o) for b, o in zip(offset, opening, strict=True)]
    offset = [torch.cat([o[:, None], b[:, 1:]], dim=1) for o, b in zip(opening, offset, strict=True)]
    states = forwards(cell.maps, matrix, offset, resets)
    outside, totals = read(cell, x, states, hoisted)
    given = (*states, *outside, *totals)
    outputs = tuple(closed(cell, i, given[i]).to(inputs.x.dtype) for i in cell.outputs)
    last = tuple(closed(cell, i, s)[:, -1].clone() for i, s in enumerate(states))
    return Forward(outputs, last, tuple(closed(cell, i, given[i]) for i in cell.kept) if keep else ())


def backward(
    cell: Cell, inputs: Inputs, kept: tuple[Tensor, ...], outside: Outside, d_last: tuple[Tensor, ...]
) -> Backward:
    """The adjoint of the state, from the last step to the first; then one `vjp` on all steps at once."""
    dtype = compute_dtype(inputs.x)
    length, count, k = inputs.x.shape[1], len(cell.learned), len(cell.state)
    x, hoisted = inputs_of(cell, inputs, dtype), hoisted_of(cell, inputs)
    ends = [opened(cell, i, d.to(dtype)) for i, d in enumerate(d_last)]
    matrix, _ = _affine(cell, x, hoisted, ends)
    driven = []
    for i, final in enumerate(ends):
        d = final.new_zeros(final.shape[0], length, *final.shape[1:])
        if i in outside.state:
            d += opened(cell, i, outside.state[i])
        d[:, -1] += final
        driven.append(d)
    adjoint = backwards(cell.maps, matrix, driven, inputs.resets)
    new = dict(zip(cell.kept, kept, strict=True))
    before = [
        opened(cell, i, previous(cell, i, inputs, new[i])) if i in new else torch.zeros_like(adjoint[i])
        for i in range(k)
    ]
    found = [vjp(*x, *before, *hoisted, *adjoint) for vjp in (cell.vjp, cell.vjp_wide) if vjp is not None]
    boundary = []
    for i, end in enumerate(ends):  # one part of the reverse mode at most has an adjoint for it
        d = next(
            (part[count + i][:, 0] for part in found if isinstance(part[count + i], Tensor)), torch.zeros_like(end)
        )
        d = d if inputs.resets is None else torch.where(spread(inputs.resets[:, 0], d), 0.0, d)
        boundary.append(d.expand_as(end).contiguous())
    d_x, beside = input_gradients(cell, inputs, [*(part[:count] for part in found), *outside.inputs])
    return Backward(
        x=d_x,
        hoisted=value_gradients(cell, inputs, [*(part[count + k :] for part in found), *outside.values]),
        weight=None,
        state=tuple(closed(cell, i, d) for i, d in enumerate(boundary)),
        beside=beside,
    )


def _affine(
    cell: Cell, x: tuple[Tensor, ...], hoisted: tuple[Tensor, ...], state: list[Tensor]
) -> tuple[Matrix, list[Tensor]]:
    """A, entries without rows and time where it is the same at every step, else [B, T, …]; b [B, T, …]."""
    assert cell.affine is not None
    made = cell.affine(*x, *hoisted)
    found = [v if isinstance(v, Tensor) else x[0].new_full((1,), v) for v in made]
    entries, offset = found[: len(cell.transition)], found[len(cell.transition) :]
    shapes = [(*x[0].shape[:2], *s.shape[1:]) for s in state]
    varying = any(a.dim() == len(shapes[0]) for a in entries)
    matrix = {at: a.expand(shapes[at[0]]) if varying else a for at, a in zip(cell.transition, entries, strict=True)}
    return matrix, [b.expand(shape) for b, shape in zip(offset, shapes, strict=True)]

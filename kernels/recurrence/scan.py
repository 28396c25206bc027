"""Recurrences that are affine in the state and diagonal, in torch: a scan by doubling, log2(T) passes and no loop.

Step t is s_t = A_t s_{t-1} + b_t with a k×k matrix per channel. Two steps compose to (A_2 A_1, A_2 b_1 + b_2); after j
passes b_t holds the last 2^j steps. A flag says "a reset lies in this window": then the later part is selected and
nothing of the earlier one is read, whatever it holds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import Backward, Cell, Forward, Inputs, compute_dtype, previous
from .leaves import closed, hoisted_of, input_gradients, inputs_of, opened, spread, value_gradients
from .readout import Outside, read

Matrix = dict[tuple[int, int], Tensor]  # the entries that are not 0
Maps = tuple[tuple[int, int, int], ...]  # entries of products, and the distinct number that each is


def forward(cell: Cell, inputs: Inputs, keep: bool) -> Forward:
    dtype = compute_dtype(inputs.x)
    x, hoisted = inputs_of(cell, inputs, dtype), hoisted_of(cell, inputs)
    state = [opened(cell, i, s.to(dtype)) for i, s in enumerate(inputs.state)]
    matrix, offset = _affine(cell, x, hoisted, state)
    start = [torch.full_like(s, v) for s, v in zip(state, cell.initial, strict=True)]
    resets = inputs.resets
    if resets is not None and any(cell.initial):
        fresh = _apply(matrix, [s[:, None] for s in start], offset)
        offset = [torch.where(spread(resets, b), f, b) for f, b in zip(fresh, offset, strict=True)]
    first = {at: a[:, 0] if a.dim() == offset[0].dim() else a for at, a in matrix.items()}
    opening = _apply(first, state, [b[:, 0] for b in offset])
    if resets is not None:
        now = resets[:, 0]
        opening = [torch.where(spread(now, o), b[:, 0], o) for b, o in zip(offset, opening, strict=True)]
    offset = [torch.cat([o[:, None], b[:, 1:]], dim=1) for o, b in zip(opening, offset, strict=True)]
    states = _scan(cell.maps, matrix, offset, resets)
    outside, totals = read(cell, x, states, hoisted)
    given = (*states, *outside, *totals)
    outputs = tuple(closed(cell, i, given[i]).to(inputs.x.dtype) for i in cell.outputs)
    last = tuple(closed(cell, i, s)[:, -1].clone() for i, s in enumerate(states))
    return Forward(outputs, last, tuple(closed(cell, i, given[i]) for i in cell.kept) if keep else ())


def backward(
    cell: Cell, inputs: Inputs, kept: tuple[Tensor, ...], outside: Outside, d_last: tuple[Tensor, ...]
) -> Backward:
    """The adjoint is the same scan run backwards with transposed matrices; then one `vjp` on all steps at once."""
    dtype = compute_dtype(inputs.x)
    length, count, k = inputs.x.shape[1], len(cell.learned), len(cell.state)
    x, hoisted = inputs_of(cell, inputs, dtype), hoisted_of(cell, inputs)
    ends = [opened(cell, i, d.to(dtype)) for i, d in enumerate(d_last)]
    matrix, _ = _affine(cell, x, hoisted, ends)
    # time reversed: place u is step T-1-u, its matrix is A of the step after, transposed
    turned = {(j, i): _shift_back(a, ends[0].dim() + 1) for (i, j), a in matrix.items()}
    flags = inputs.resets.roll(-1, dims=1).flip(1) if inputs.resets is not None else None
    driven = outside.state
    offset = []
    for i, final in enumerate(ends):
        shape = (final.shape[0], length, *final.shape[1:])
        d = opened(cell, i, driven[i]).to(dtype).flip(1) if i in driven else final.new_zeros(shape)
        d[:, 0] += final
        offset.append(d)
    maps = tuple((j, i, place) for i, j, place in cell.maps)
    adjoint = [d.flip(1) for d in _scan(maps, turned, offset, flags)]
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
    for i, j, _ in cell.maps:  # what a product can have and a single step has not
        like = next(iter(matrix.values()))
        matrix.setdefault((i, j), like.new_zeros(()).expand(shapes[i]) if varying else torch.zeros_like(like))
    return matrix, [b.expand(shape) for b, shape in zip(offset, shapes, strict=True)]


def _apply(matrix: Matrix, vector: list[Tensor], offset: list[Tensor]) -> list[Tensor]:
    """A v + b."""
    found = list(offset)
    for (i, j), a in matrix.items():
        found[i] = found[i] + a * vector[j]
    return found


def _product(maps: Maps, left: Matrix, right: Matrix) -> Matrix:
    """The product, each of its distinct numbers once."""
    numbers: dict[int, Tensor] = {}
    middle = range(1 + max(i for i, _, _ in maps))
    for i, j, place in maps:
        if place not in numbers:
            terms = [left[i, m] * right[m, j] for m in middle if (i, m) in left and (m, j) in right]
            numbers[place] = sum(terms[1:], start=terms[0])
    return {(i, j): numbers[place] for i, j, place in maps}


def _scan(maps: Maps, matrix: Matrix, offset: list[Tensor], flags: Tensor | None) -> list[Tensor]:
    """All states [B, T, …]; place 0 of `offset` is already the state there, its matrix is not read."""
    length, span = offset[0].shape[1], 1
    varying = next(iter(matrix.values())).dim() == offset[0].dim()
    while span < length:
        late = {at: a[:, span:] if varying else a for at, a in matrix.items()}
        early = [b[:, :-span] for b in offset]
        joined = _apply(late, early, [b[:, span:] for b in offset])
        if flags is not None:
            cut = flags[:, span:]
            joined = [torch.where(spread(cut, j), b[:, span:], j) for b, j in zip(offset, joined, strict=True)]
            flags = torch.cat([flags[:, :span], cut | flags[:, :-span]], dim=1)
        offset = [torch.cat([b[:, :span], j], dim=1) for b, j in zip(offset, joined, strict=True)]
        if not varying:
            matrix = _product(maps, matrix, matrix)
        elif 2 * span < length:
            product = _product(maps, late, {at: a[:, :-span] for at, a in matrix.items()})
            whole: dict[int, Tensor] = {}
            for i, j, place in maps:
                if place not in whole:
                    whole[place] = torch.cat([matrix[i, j][:, :span], product[i, j]], dim=1)
            matrix = {(i, j): whole[place] for i, j, place in maps}
        span *= 2
    return offset


def _shift_back(values: Tensor, dimensions: int) -> Tensor:
    """Time reversed, with what belongs to step t + 1 in the place of step t; place 0 is not read."""
    if values.dim() < dimensions:
        return values
    return values.roll(-1, dims=1).flip(1)

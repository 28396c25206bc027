"""s_t = A_t s_{t-1} + b_t for all t, with a k×k matrix per number, in torch; and from the last step to the first.

On a CPU step by step in place, which touches every number once. On a GPU, where every operator is a launch, by doubling
in log2(T) passes: two steps compose to (A_2 A_1, A_2 b_1 + b_2), and after j passes b_t holds the last 2^j steps.
A reset selects b_t, and nothing of what came before is read, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .leaves import spread

Matrix = dict[
    tuple[int, int], Tensor
]  # entries that are not 0: [B, T, …], or without B and T where all steps are alike
Maps = tuple[tuple[int, int, int], ...]  # entries of products, and the distinct number that each is
Values = list[Tensor]  # [B, T, …] for each state variable


def forwards(maps: Maps, matrix: Matrix, offset: Values, resets: Tensor | None) -> Values:
    """All states. Place 0 of `offset` is the state there already, whose matrix is not read. Writes into `offset`."""
    if walks(offset[0]):
        return _walk(matrix, offset, resets, range(1, offset[0].shape[1]), 0)
    return _double(maps, matrix, offset, resets)


def backwards(maps: Maps, matrix: Matrix, offset: Values, resets: Tensor | None) -> Values:
    """All adjoints λ_t = A_{t+1}ᵀ λ_{t+1} + b_t; where t + 1 is a reset, λ_t = b_t. Writes into `offset`."""
    turned = {(j, i): a for (i, j), a in matrix.items()}
    if walks(offset[0]):
        return _walk(turned, offset, resets, reversed(range(offset[0].shape[1] - 1)), 1)
    # time reversed: place u is step T-1-u, its matrix is that of the step after
    dimensions = offset[0].dim()
    shifted = {a: a.roll(-1, dims=1).flip(1) for a in turned.values() if a.dim() == dimensions}
    flags = resets.roll(-1, dims=1).flip(1) if resets is not None else None
    found = _double(
        tuple((j, i, place) for i, j, place in maps),
        {at: shifted.get(a, a) for at, a in turned.items()},
        [b.flip(1) for b in offset],
        flags,
    )
    return [d.flip(1) for d in found]


def walks(values: Tensor) -> bool:
    """Whether steps are taken one by one."""
    return values.device.type == "cpu"


def apply(matrix: Matrix, vector: Values, offset: Values) -> Values:
    """A v + b."""
    found = list(offset)
    for (i, j), a in matrix.items():
        found[i] = torch.addcmul(found[i], a, vector[j])
    return found


def _walk(matrix: Matrix, values: Values, resets: Tensor | None, order: Iterable[int], ahead: int) -> Values:
    """In `order`; step t reads the one before it in that order, with the matrix and the reset of step t + `ahead`."""
    dimensions = values[0].dim()
    steps = [v.unbind(1) for v in values]
    entries = [(i, j, a.unbind(1) if a.dim() == dimensions else None, a) for (i, j), a in matrix.items()]
    some = resets.any(0).tolist() if resets is not None else None
    back = 1 if ahead else -1
    for t in order:
        at, cut = t + ahead, some is not None and some[t + ahead]
        kept = [s[t].clone() for s in steps] if cut else []
        for i, j, varying, constant in entries:
            a = varying[at] if varying is not None else constant
            steps[i][t].addcmul_(a, steps[j][t + back])
        if cut and resets is not None:
            for s, before in zip(steps, kept, strict=True):
                s[t].copy_(torch.where(spread(resets[:, at], before), before, s[t]))
    return values


def _double(maps: Maps, matrix: Matrix, offset: Values, flags: Tensor | None) -> Values:
    """A flag says "a reset lies in this window"."""
    if not matrix:  # nothing is carried from step to step
        return offset
    length, span = offset[0].shape[1], 1
    varying = next(iter(matrix.values())).dim() == offset[0].dim()
    matrix = _filled(maps, matrix, offset, varying)
    while span < length:
        late = {at: a[:, span:] if varying else a for at, a in matrix.items()}
        joined = apply(late, [b[:, :-span] for b in offset], [b[:, span:] for b in offset])
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


def _filled(maps: Maps, matrix: Matrix, offset: Values, varying: bool) -> Matrix:
    """With zeros for what a product can have and a single step has not."""
    like = next(iter(matrix.values()))
    missing = {
        (i, j): like.new_zeros(()).expand(offset[i].shape) if varying else torch.zeros_like(like)
        for i, j, _ in maps
        if (i, j) not in matrix
    }
    return matrix | missing


def _product(maps: Maps, left: Matrix, right: Matrix) -> Matrix:
    """The product, each of its distinct numbers once."""
    numbers: dict[int, Tensor] = {}
    middle = range(1 + max(i for i, _, _ in maps))
    for i, j, place in maps:
        if place not in numbers:
            terms = [left[i, m] * right[m, j] for m in middle if (i, m) in left and (m, j) in right]
            numbers[place] = sum(terms[1:], start=terms[0])
    return {(i, j): numbers[place] for i, j, place in maps}

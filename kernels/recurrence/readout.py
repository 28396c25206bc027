"""Read-outs in torch: outputs that are no state, for all steps at once. See ``leaves`` for the shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .cell import Cell, Inputs, compute_dtype
from .leaves import Tensors, Values, closed, hoisted_of, inputs_of, opened, reduced


@dataclass(frozen=True)
class Outside:
    """What a backward over time is given: adjoints of the new state of every step, [B, T, …] by state variable; and
    lists of adjoints of the learned inputs and of the hoisted values that read-outs add."""

    state: dict[int, Tensor]
    inputs: list[Values] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)


def read(cell: Cell, x: Tensors, new: Sequence[Tensor], hoisted: Tensors) -> tuple[Tensors, Tensors]:
    """The read-outs and the totals, from the inputs and the new state of every step."""
    if cell.read is None:
        return (), ()
    totals: Tensors = ()
    if cell.summands is not None:
        totals = tuple(a.sum((-2, -1), keepdim=True) for a in cell.summands(*x, *new, *hoisted))
    like = x[cell.input_axes.index("d")]  # [..., N, 1, D] or [..., H], as a read-out
    found = cell.read(*x, *new, *totals, *hoisted)
    return tuple((y if isinstance(y, Tensor) else like.new_full((1,), y)).expand_as(like) for y in found), totals


def outside_adjoints(cell: Cell, inputs: Inputs, kept: Sequence[Tensor], d_outputs: Sequence[Tensor]) -> Outside:
    """The gradients of the outputs as adjoints of the new state: as they come, and through the read-outs."""
    k, given = len(cell.state), dict(zip(cell.outputs, d_outputs, strict=True))
    state = {i: d for i, d in given.items() if i < k}
    if cell.read_vjp is None:
        return Outside(state)
    dtype, held = compute_dtype(inputs.x), dict(zip(cell.kept, kept, strict=True))
    x, hoisted = inputs_of(cell, inputs, dtype), hoisted_of(cell, inputs)
    nothing = x[0].new_zeros(())  # stands for state variables that are not read
    new = [opened(cell, i, held[i]) if cell.seen[i] else nothing for i in range(k)]
    totals = tuple(opened(cell, i, held[i]) for i in cell.kept_totals)
    d_read = [opened(cell, i, given[i].to(dtype)) for i in cell.read_outputs]
    i, z = len(cell.learned), len(totals)
    found = cell.read_vjp(*x, *new, *totals, *hoisted, *d_read)
    halves = [(found[:i], found[i : i + k], found[i + k + z :])]
    if cell.summands_vjp is not None:
        adjoints = found[i + k : i + k + z]
        d_totals = [_spread_out(cell, inputs, *pair) for pair in zip(totals, adjoints, cell.summand_axes, strict=True)]
        found = cell.summands_vjp(*x, *new, *hoisted, *d_totals)
        halves.append((found[:i], found[i : i + k], found[i + k :]))
    for _, parts, _ in halves:
        for place, part in enumerate(parts):
            if isinstance(part, Tensor):
                d = closed(cell, place, _whole(cell, place, part, inputs))
                state[place] = state[place] + d if place in state else d
    return Outside(state, [half[0] for half in halves], [half[2] for half in halves])


def _spread_out(cell: Cell, inputs: Inputs, total: Tensor, adjoint: Tensor | float, axes: str) -> Tensor:
    """The adjoint of a total at everything that was summed, [..., N, E or 1, D or 1]."""
    d = reduced(adjoint, "") if isinstance(adjoint, Tensor) else total.new_full((1, 1), adjoint)
    features = inputs.beside[0].shape[-1] if "e" in axes else 1
    return d.expand(*total.shape[:-2], features, inputs.x.shape[-1] if "d" in axes else 1)


def _whole(cell: Cell, place: int, d: Tensor, inputs: Inputs) -> Tensor:
    """The adjoint of a state variable in full: summed over what the variable has not, repeated where it has more."""
    d = reduced(d, cell.state_axes[place]) if cell.headed else d
    return d.expand(*inputs.x.shape[:2], *opened(cell, place, inputs.state[place]).shape[1:])

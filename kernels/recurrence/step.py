"""One step in torch, without gradients: the equations once on [B, H], with no axis of time and nothing kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..precision import cast
from .cell import Cell, Inputs, compute_dtype, recur
from .leaves import closed, hoisted_of, inputs_of, opened, spread
from .readout import read

Tensors = tuple[Tensor, ...]


@torch.no_grad()
def advance(
    cell: Cell,
    x: Tensor,
    params: Sequence[Tensor],
    weight: Tensor | None,
    state: Sequence[Tensor],
    traces: Sequence[Tensor],
    resets: Tensor | None,
    beside: Tensors = (),
) -> tuple[Tensors, Tensors, Tensors]:
    """x: [B, G, H]; the others as `RecurrenceOp.step` takes them -> outputs, state and traces, [B, H] each.

    Every result has memory of its own: a caller may write to the output, or to what it gave, and the state stays.
    """
    dtype = compute_dtype(x)
    params, state, traces = ([cast(t, dtype) for t in group] for group in (params, state, traces))
    inputs = Inputs(x, tuple(params), weight, tuple(state), tuple(traces), resets, beside)
    now = inputs_of(cell, inputs, dtype)
    state = [opened(cell, i, s) for i, s in enumerate(state)]
    if resets is not None:
        state = [torch.where(spread(resets, s), start, s) for start, s in zip(cell.initial, state, strict=True)]
        traces = [torch.where(resets[:, None], 0.0, e) for e in traces]
    # The equations of a step with its traces have what they read of the parameters inside.
    hoisted = () if traces and cell.read is None else hoisted_of(cell, inputs)
    if traces:
        assert cell.traced_step is not None
        made = cell.traced_step(*now, *state, *params, *traces)
    elif weight is not None and cell.recurrent is not None:
        made = _driven(cell, cast(x, dtype), now, recur(cast(weight, dtype), state[cell.recurrent]), state, hoisted)
    else:
        made = cell.step(*now, *state, *hoisted)
    after: list[Tensor] = []
    taken = set(map(id, (*now, *state, *traces)))
    for value, old in zip(made, (*state, *traces), strict=True):
        # An equation may hand on an operand, or one number for many.
        shared = id(value) in taken or value.shape != old.shape
        taken.add(id(value))
        after.append(value.expand_as(old).clone() if shared else value)
    after, traces = after[: len(state)], after[len(state) :]
    given = [*after, *read(cell, now, after, hoisted)[0]]
    outputs = tuple(closed(cell, i, given[i]).to(x.dtype, copy=True) for i in cell.outputs)
    return outputs, tuple(closed(cell, i, s) for i, s in enumerate(after)), tuple(traces)


def _driven(
    cell: Cell, x: Tensor, now: Tensors, recurrent: Tensor, state: Sequence[Tensor], hoisted: Tensors
) -> Tensors:
    """The new state, from x [B, G, H], the same apart, and the recurrent terms [B, gates, H]. Where all that the
    equations read is sums of the two, they are added at once."""
    if cell.advance is not None and all(cell.shared) and cell.gates == tuple(range(len(cell.inputs))):
        return cell.advance(*(x + recurrent).unbind(1), *state, *hoisted)
    return cell.step(*now, *recurrent.unbind(1), *state, *hoisted)

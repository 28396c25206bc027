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
    now, hoisted = inputs_of(cell, inputs, dtype), hoisted_of(cell, inputs)
    state = [opened(cell, i, s) for i, s in enumerate(state)]
    if resets is not None:
        state = [torch.where(spread(resets, s), start, s) for start, s in zip(cell.initial, state, strict=True)]
        traces = [torch.where(resets[:, None], 0.0, e) for e in traces]
    recurrent: Tensors = ()
    if weight is not None and cell.recurrent is not None:
        recurrent = recur(cast(weight, dtype), state[cell.recurrent]).unbind(1)
    made = cell.step(*now, *recurrent, *state, *hoisted)
    after: list[Tensor] = []
    for value, old in zip(made, state, strict=True):  # an equation may hand on an operand, or one number for many
        shared = any(value is other for other in (*now, *state, *after)) or value.shape != old.shape
        after.append(value.expand_as(old).clone() if shared else value)
    given = [*after, *read(cell, now, after, hoisted)[0]]
    outputs = tuple(closed(cell, i, given[i]).to(x.dtype, copy=True) for i in cell.outputs)
    after = [closed(cell, i, s) for i, s in enumerate(after)]
    return outputs, tuple(after), trace_step(cell, now, state, params, traces) if traces else ()


def trace_step(
    cell: Cell, x: Sequence[Tensor], state: Sequence[Tensor], params: Sequence[Tensor], traces: Sequence[Tensor]
) -> Tensors:
    """E' = J E + D, from the inputs and the state that one step reads, [B, H] each."""
    assert cell.trace is not None
    k = len(state)
    found = cell.trace(*x, *state, *cell.hoist_for_trace(tuple(params)))
    jacobian, direct = found[: k * k], found[k * k :]
    after = []
    for place, value in enumerate(direct):
        for m in range(k):
            entry, trace = jacobian[place % k * k + m], traces[place - place % k + m]
            both = isinstance(entry, Tensor) and isinstance(value, Tensor)
            value = torch.addcmul(value, entry, trace) if both else value + entry * trace
        after.append(value)
    return tuple(after)

"""The oracle: the equations in a plain loop over time, differentiated by autograd."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .cell import Cell, Inputs, compute_dtype, recur
from .leaves import closed, hoisted_of, inputs_of, opened, spread
from .readout import read


def reference(cell: Cell, inputs: Inputs) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Outputs [B, T, H], final state [B, H] and final traces [B, H]."""
    dtype = compute_dtype(inputs.x)
    x = inputs_of(cell, inputs, dtype)
    params = tuple(p.to(dtype) for p in inputs.params)
    weight = inputs.weight.to(dtype) if inputs.weight is not None else None
    hoisted = hoisted_of(cell, replace(inputs, params=params))
    state = _with_traces(cell, inputs, params, dtype)
    traces = tuple(e.to(dtype) for e in inputs.traces)
    steps: list[tuple[Tensor, ...]] = []
    for t in range(inputs.x.shape[1]):
        if inputs.resets is not None:
            mask = inputs.resets[:, t]
            state = tuple(torch.where(spread(mask, s), v, s) for v, s in zip(cell.initial, state, strict=True))
            traces = tuple(torch.where(spread(mask, e), 0.0, e) for e in traces)
        now = tuple(v[:, t] for v in x)
        if traces:
            traces = _trace_step(cell, now, state, params, traces)
        recurrent: tuple[Tensor, ...] = ()
        if weight is not None and cell.recurrent is not None:
            recurrent = recur(weight, state[cell.recurrent]).unbind(1)
        made = cell.step(*now, *recurrent, *state, *hoisted)
        state = tuple(new.expand_as(old) for new, old in zip(made, state, strict=True))
        steps.append(state)
    given = [torch.stack([s[i] for s in steps], dim=1) for i in range(len(cell.state))]
    outside, _ = read(cell, x, given, hoisted)
    given += outside
    outputs = tuple(closed(cell, i, given[i]).to(inputs.x.dtype) for i in cell.outputs)
    return outputs, tuple(closed(cell, i, s) for i, s in enumerate(state)), traces


def _with_traces(cell: Cell, inputs: Inputs, params: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The incoming state; where it is detached, its dependence on the parameters comes back through the traces.

    E·(p - p.detach()) is zero in value, and in the backward it adds λ·E to p.
    """
    k = len(cell.state)
    state = []
    for i, start in enumerate(inputs.state):
        value = opened(cell, i, start.to(dtype))
        if inputs.traces and not start.requires_grad:
            for j, p in enumerate(params):
                trace = inputs.traces[j * k + i].detach().to(dtype)
                if inputs.resets is not None:
                    trace = torch.where(inputs.resets[:, 0, None], 0.0, trace)
                value = value + trace * (p - p.detach())
        state.append(value)
    return tuple(state)


@torch.no_grad()
def _trace_step(
    cell: Cell,
    x: tuple[Tensor, ...],
    state: tuple[Tensor, ...],
    params: tuple[Tensor, ...],
    traces: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    """E' = J E + D."""
    assert cell.trace is not None
    k = len(state)
    found = cell.trace(*x, *state, *cell.hoist_for_trace(params))
    jacobian, direct = found[: k * k], found[k * k :]
    return tuple(
        sum((jacobian[i * k + m] * traces[j * k + m] for m in range(k)), start=direct[j * k + i])
        for j in range(len(params))
        for i in range(k)
    )

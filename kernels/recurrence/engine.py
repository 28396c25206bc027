"""One forward and one backward of a recurrence, without autograd: choose the implementation, add what all share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from . import launch, loop, loop_backward, scan
from .cell import Cell, Forward, Inputs, compute_dtype
from .readout import outside_adjoints
from .traces import final_traces

Gradients = tuple[Tensor, tuple[Tensor, ...], Tensor | None, tuple[Tensor, ...], tuple[Tensor, ...]]


def kept_dtype(cell: Cell, index: int, x: Tensor, weight: Tensor | None, impl: str) -> torch.dtype:
    """The dtype that state variable `index` is kept in for the backward.

    On Triton the recurrent product reads its operand in the dtype of the weight, so a state variable that nothing else
    reads is kept in that dtype.
    """
    if impl == "triton":
        return launch.kept_dtype(cell, index, weight)
    return compute_dtype(x)


def kept_in_outputs(cell: Cell, x: Tensor, weight: Tensor | None, impl: str) -> tuple[bool, ...]:
    """Per kept state variable: an output already holds it."""
    own = cell.before if impl == "triton" else ()
    return tuple(
        i in cell.outputs and i not in own and kept_dtype(cell, i, x, weight, impl) == x.dtype for i in cell.kept
    )


def run_forward(cell: Cell, inputs: Inputs, impl: str, keep: bool) -> tuple[Forward, tuple[Tensor, ...]]:
    """The forward and the final traces (empty when none came in)."""
    store = keep or bool(inputs.traces)
    if impl == "triton":
        found = launch.forward(cell, inputs, store)
    else:
        found = (scan if cell.affine else loop).forward(cell, inputs, store)
    if not inputs.traces:
        return found, ()
    if impl == "triton":
        return found, launch.final_traces(cell, inputs, found.kept)
    return found, final_traces(cell, inputs, found.kept)


def run_backward(
    cell: Cell,
    inputs: Inputs,
    impl: str,
    kept: Sequence[Tensor],
    d_outputs: Sequence[Tensor],
    d_last: Sequence[Tensor],
    attached: Sequence[bool],
) -> Gradients:
    """Gradients of x, params, weight and the incoming state, and of the features beside x.

    A detached state variable whose traces came in gives the parameters λ·E: its dependence on them before this call.
    """
    if impl == "triton":
        found = launch.backward(cell, inputs, tuple(kept), tuple(d_outputs), tuple(d_last))
        params = launch.parameter_gradients(cell, inputs, found.hoisted, found.state, attached)
        return found.x, params, found.weight, found.state, found.beside
    if cell.headed and inputs.resets is not None:
        inputs, kept = cleaned(inputs), [_finite(t) for t in kept]
    schedule = scan if cell.affine else loop_backward
    k = len(cell.state)
    outside = outside_adjoints(cell, inputs, kept, d_outputs)
    found = schedule.backward(cell, inputs, tuple(kept), outside, tuple(d_last))
    d_params = list(cell.hoist_vjp(*inputs.params, *found.hoisted)) if cell.hoist_vjp else []
    if inputs.traces:
        for i, d_state in enumerate(found.state):
            if attached[i]:
                continue  # autograd carries this term into the call before
            for j in range(len(d_params)):
                past = d_state * inputs.traces[j * k + i].to(d_state.dtype)
                if inputs.resets is not None:
                    # A reset anywhere may cut the loss off from the past; then nothing of a trace, NaN neither, counts.
                    past = torch.where(inputs.resets[:, :1] | (d_state == 0), 0.0, past)
                d_params[j] = d_params[j] + past.sum(0)
    return found.x, tuple(d_params), found.weight, found.state, found.beside


def cleaned(inputs: Inputs) -> Inputs:
    """What a backward reads, NaN as 0: one of before a reset meets an adjoint of 0, and 0 times NaN is not 0."""
    state, beside = (tuple(map(_finite, group)) for group in (inputs.state, inputs.beside))
    return replace(inputs, x=_finite(inputs.x), state=state, beside=beside)


def _finite(values: Tensor) -> Tensor:
    return torch.nan_to_num(values, 0.0, 0.0, 0.0)

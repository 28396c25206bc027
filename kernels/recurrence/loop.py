"""Any recurrence in torch: a loop over time forward, and an explicit loop backward without an autograd tape."""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import Backward, Cell, Forward, Inputs, compute_dtype, previous, recur, recur_transposed, weight_gradient


def forward(cell: Cell, inputs: Inputs, keep: bool) -> Forward:
    """Run the equations over T, writing each output and each kept state variable once."""
    x, dtype = inputs.x, compute_dtype(inputs.x)
    rows, length, _, width = x.shape
    weight = inputs.weight.to(dtype) if inputs.weight is not None else None
    hoisted = inputs.hoist(cell)
    state = tuple(s.to(dtype) for s in inputs.state)
    wanted = (*cell.outputs, *cell.kept) if keep else cell.outputs
    buffers = {i: torch.empty(rows, length, width, dtype=dtype, device=x.device) for i in wanted}
    for t in range(length):
        state = _mask(cell, inputs.resets, t, state)
        recurrent = recur(weight, state[cell.recurrent]).unbind(1) if weight is not None else ()
        state = cell.step(*x[:, t].to(dtype).unbind(1), *recurrent, *state, *hoisted)
        for i, buffer in buffers.items():
            buffer[:, t] = state[i]
    outputs = tuple(buffers[i].to(x.dtype) for i in cell.outputs)
    return Forward(outputs, tuple(s.clone() for s in state), tuple(buffers[i] for i in cell.kept) if keep else ())


def backward(
    cell: Cell, inputs: Inputs, kept: tuple[Tensor, ...], d_outputs: tuple[Tensor, ...], d_last: tuple[Tensor, ...]
) -> Backward:
    """The adjoint λ of the state goes back over T; one step's `vjp` turns it into everything else."""
    x, dtype = inputs.x, compute_dtype(inputs.x)
    rows, length, count, width = x.shape
    hoisted = inputs.hoist(cell)
    new = dict(zip(cell.kept, kept, strict=True))
    weight = inputs.weight.to(dtype) if inputs.weight is not None else None
    k, own = len(cell.state), cell.shared.count(False)
    d_x = torch.empty(rows, length, count, width, dtype=dtype, device=x.device)
    d_r = torch.empty(rows, length, own, width, dtype=dtype, device=x.device)
    y = recurrent = None
    if weight is not None:
        y = previous(cell, cell.recurrent, inputs, new[cell.recurrent])
        recurrent = recur(weight, y)  # R y of every step as one GEMM
    carried = [d.to(dtype) for d in d_last]
    d_hoisted = [torch.zeros(rows, width, dtype=dtype, device=x.device) for _ in hoisted]
    nothing = torch.zeros(rows, width, dtype=dtype, device=x.device)
    for t in reversed(range(length)):
        for i, d in zip(cell.outputs, d_outputs, strict=True):
            carried[i] = carried[i] + d[:, t].to(dtype)
        before = [new[i][:, t - 1] if i in new and t > 0 else inputs.state[i].to(dtype) for i in range(k)]
        before = _mask(cell, inputs.resets, t, tuple(before))
        found = cell.vjp(
            *x[:, t].to(dtype).unbind(1),
            *(recurrent[:, t].unbind(1) if recurrent is not None else ()),
            *before,
            *hoisted,
            *carried,
        )
        for g in range(count):
            d_x[:, t, g] = found[g]
        for g in range(own):
            d_r[:, t, g] = found[count + g]
        carried = list(found[count + own : count + own + k])
        for total, part in zip(d_hoisted, found[count + own + k :], strict=True):
            total += part
        if weight is not None:
            through = recur_transposed(weight, _gate_adjoints(cell, d_x[:, t], d_r[:, t]))
            carried[cell.recurrent] = carried[cell.recurrent] + through
        if inputs.resets is not None:  # what a reset step read does not reach the step before it
            carried = [torch.where(inputs.resets[:, t, None], nothing, d) for d in carried]
    d_weight = None
    if weight is not None:
        d_weight = weight_gradient(weight, _gate_adjoints(cell, d_x, d_r), y).to(inputs.weight.dtype)
    return Backward(d_x.to(x.dtype), tuple(d.sum(0) for d in d_hoisted), d_weight, tuple(carried))


def _mask(cell: Cell, resets: Tensor | None, t: int, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """State as step t reads it; a reset selects the initial value."""
    if resets is None:
        return state
    return tuple(torch.where(resets[:, t, None], start, s) for start, s in zip(cell.initial, state, strict=True))


def _gate_adjoints(cell: Cell, d_x: Tensor, d_r: Tensor) -> Tensor:
    """d r of every gate, [..., Gr, H]: from d x where they are the same, else from `d_r`."""
    if all(cell.shared) and cell.gates == tuple(range(d_x.shape[-2])):
        return d_x
    own = iter(range(d_r.shape[-2]))
    parts = [
        d_x[..., g, :] if shared else d_r[..., next(own), :] for g, shared in zip(cell.gates, cell.shared, strict=True)
    ]
    return torch.stack(parts, dim=-2)

"""Eligibility traces at the end of a call, in torch: one ordered reduction over time, no loop."""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import Cell, Inputs, compute_dtype, previous


def final_traces(cell: Cell, inputs: Inputs, kept: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """E after the last step, from E before the first: E' = J E + D at every step, 0 at a reset."""
    assert cell.trace is not None
    dtype, k = compute_dtype(inputs.x), len(cell.state)
    x = inputs.x.to(dtype)
    new = dict(zip(cell.kept, kept, strict=True))
    shape = (x.shape[0], x.shape[1], x.shape[3])
    empty = x.new_zeros(()).expand(shape)  # stands for state variables that no equation reads
    before = [previous(cell, i, inputs, new[i]) if i in new else empty for i in range(k)]
    made = cell.trace(*x.unbind(2), *before, *cell.hoist_for_trace(inputs.params))
    found = [(v if isinstance(v, Tensor) else x.new_full((1,), v)).expand(shape) for v in made]
    jacobian, direct = _reduce(found[: k * k], found[k * k :], k, inputs.resets)
    seen = inputs.resets.any(1, keepdim=True) if inputs.resets is not None else None
    result = _carry(jacobian, [e.to(dtype) for e in inputs.traces], direct, k)
    if seen is not None:
        result = [torch.where(seen, d, e) for d, e in zip(direct, result, strict=True)]
    return tuple(result)


def _carry(jacobian: list[Tensor], traces: list[Tensor], direct: list[Tensor], k: int) -> list[Tensor]:
    """J E + D for every parameter."""
    return [
        sum((jacobian[(place % k) * k + m] * traces[place - place % k + m] for m in range(k)), start=d)
        for place, d in enumerate(direct)
    ]


def _reduce(
    jacobian: list[Tensor], direct: list[Tensor], k: int, resets: Tensor | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Neighbours in time combine until one is left: [B, T, H] -> [B, H]."""
    flags = resets[:, :, None] if resets is not None else None
    while direct[0].shape[1] > 1:
        even = direct[0].shape[1] // 2 * 2
        early_j, late_j = [j[:, 0:even:2] for j in jacobian], [j[:, 1:even:2] for j in jacobian]
        early_d, late_d = [d[:, 0:even:2] for d in direct], [d[:, 1:even:2] for d in direct]
        joined = _carry(late_j, early_d, late_d, k)
        product = [
            sum((late_j[i * k + m] * early_j[m * k + j] for m in range(k)), start=torch.zeros_like(early_j[0]))
            for i in range(k)
            for j in range(k)
        ]
        if flags is not None:
            late_f = flags[:, 1:even:2]
            joined = [torch.where(late_f, d, e) for d, e in zip(late_d, joined, strict=True)]
            flags = torch.cat([late_f | flags[:, 0:even:2], flags[:, even:]], dim=1)
        jacobian = [torch.cat([p, j[:, even:]], dim=1) for p, j in zip(product, jacobian, strict=True)]
        direct = [torch.cat([e, d[:, even:]], dim=1) for e, d in zip(joined, direct, strict=True)]
    return [j[:, 0] for j in jacobian], [d[:, 0] for d in direct]

"""Eligibility traces at the end of a call, in torch: one ordered reduction over time, no loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

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
    found = [v if isinstance(v, Tensor) else x.new_full((1,), v) for v in made]
    steady = all(v.dim() < len(shape) for v in found[: k * k])
    whole = [v.expand(shape) for v in found]
    if steady:
        jacobian, direct = _reduce_steady(found[: k * k], whole[k * k :], k, inputs.resets)
    else:
        jacobian, direct = _reduce(whole[: k * k], whole[k * k :], k, inputs.resets)
    seen = inputs.resets.any(1, keepdim=True) if inputs.resets is not None else None
    result = _carry(jacobian, [e.to(dtype) for e in inputs.traces], direct, k)
    if seen is not None:
        result = [torch.where(seen, d, e) for d, e in zip(direct, result, strict=True)]
    return tuple(result)


def _carry(jacobian: list[Tensor], traces: list[Tensor], direct: list[Tensor], k: int) -> list[Tensor]:
    """J E + D for every parameter."""
    result = []
    for place, d in enumerate(direct):
        for m in range(k):
            d = torch.addcmul(d, jacobian[place % k * k + m], traces[place - place % k + m])
        result.append(d)
    return result


def _product(left: list[Tensor], right: list[Tensor], k: int) -> list[Tensor]:
    """The product of two matrices by rows."""
    terms = [[left[i * k + m] * right[m * k + j] for m in range(k)] for i in range(k) for j in range(k)]
    return [sum(t[1:], start=t[0]) for t in terms]


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
        if flags is not None:
            late_f = flags[:, 1:even:2]
            joined = [torch.where(late_f, d, e) for d, e in zip(late_d, joined, strict=True)]
            flags = torch.cat([late_f | flags[:, 0:even:2], flags[:, even:]], dim=1)
        product = _product(late_j, early_j, k)
        jacobian = [torch.cat([p, j[:, even:]], dim=1) for p, j in zip(product, jacobian, strict=True)]
        direct = [torch.cat([e, d[:, even:]], dim=1) for e, d in zip(joined, direct, strict=True)]
    return [j[:, 0] for j in jacobian], [d[:, 0] for d in direct]


def _reduce_steady(
    power: list[Tensor], direct: list[Tensor], k: int, resets: Tensor | None
) -> tuple[list[Tensor], list[Tensor]]:
    """The same where J is one for all steps: its powers of two suffice, [H]. An odd number of steps gets one that adds
    nothing in front, so that every pair is as long as the others."""
    flags = resets[:, :, None] if resets is not None else None
    remaining = direct[0].shape[1]
    total: list[Tensor] = []
    while remaining:
        if remaining % 2:
            total = _product(power, total, k) if total else power
        remaining //= 2
        if direct[0].shape[1] > 1:
            if direct[0].shape[1] % 2:
                direct = [F.pad(d, (0, 0, 1, 0)) for d in direct]
                flags = F.pad(flags, (0, 0, 1, 0)) if flags is not None else None
            late = [d[:, 1::2] for d in direct]
            joined = _carry(power, [d[:, 0::2] for d in direct], late, k)
            if flags is not None:
                late_f = flags[:, 1::2]
                joined = [torch.where(late_f, d, e) for d, e in zip(late, joined, strict=True)]
                flags = late_f | flags[:, 0::2]
            direct = joined
        power = _product(power, power, k)
    return total, [d[:, 0] for d in direct]

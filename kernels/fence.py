"""A fence around masked matrix products, for the way back.

Going forward, `segments.tainted` keeps a NaN in the episode where it arose. Going backward the same trap waits: a
gradient that is NaN at one step meets the zero weight of a step in another episode, and 0 * NaN is NaN. A `Fence` takes
such rows out of the incoming gradient, and writes NaN to exactly the inputs that they reach: those at or before them in
the same episode. It is put up only where there are resets; a call without them pays nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .segments import finite_rows


class Fence:
    """One call's fence. `segments`: int64 [B, T]; inputs may have more rows in front, which belong to segment 0."""

    def __init__(self, segments: Tensor) -> None:
        self.segments = segments
        self.bad: Tensor | None = None  # bool [B, T]: steps whose incoming gradient was not finite

    def inputs(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """[B, S, ...] each, S >= T; the last T rows are the steps."""
        return tuple(_In.apply(t, self, False) for t in tensors)

    def state(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """[B, ...] each: the incoming state."""
        return tuple(_In.apply(t, self, True) for t in tensors)

    def outputs(self, y: Tensor) -> Tensor:
        """[B, T, ...]"""
        return _Out.apply(y, self, False)

    def finals(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """[B, ...] each: the state after the last step."""
        return tuple(_Out.apply(t, self, True) for t in tensors)

    def mark(self, bad: Tensor) -> None:
        self.bad = bad if self.bad is None else self.bad | bad

    def reach(self, rows: int) -> Tensor:
        """Which of the last `rows` rows stand at or before a bad step of their own segment: bool [B, rows]."""
        assert self.bad is not None
        front = rows - self.segments.shape[1]
        ids = torch.nn.functional.pad(self.segments, (front, 0))
        bad = torch.nn.functional.pad(self.bad, (front, 0))
        steps = torch.arange(rows, device=bad.device)
        following = torch.where(bad, steps, rows).flip(1).cummin(1).values.flip(1)  # the first bad row from here on
        same = ids.gather(1, following.clamp(max=rows - 1)) == ids
        return same & (following < rows)


def _spread(mask: Tensor, like: Tensor) -> Tensor:
    return mask.view(*mask.shape, *[1] * (like.dim() - mask.dim()))


class _Out(torch.autograd.Function):
    @staticmethod
    def forward(y: Tensor, fence: Fence, final: bool) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.fence, ctx.final = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        clean, odd = finite_rows(grad.unsqueeze(-1))  # number by number
        if ctx.final:
            last = torch.zeros_like(ctx.fence.segments, dtype=torch.bool)
            ctx.fence.mark(torch.cat([last[:, 1:], odd.flatten(1).any(1, keepdim=True)], 1))
        else:
            ctx.fence.mark(odd.flatten(2).any(2) if odd.dim() > 2 else odd)
        return clean.squeeze(-1), None, None


class _In(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, fence: Fence, state: bool) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.fence, ctx.state = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        fence = ctx.fence
        if fence.bad is None:
            return grad, None, None
        reached = (fence.bad & (fence.segments == 0)).any(1) if ctx.state else fence.reach(grad.shape[1])
        return grad.masked_fill(_spread(reached, grad), float("nan")), None, None

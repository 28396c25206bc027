"""`Region`: a fused pointwise region as a differentiable function.

Operands are full ``[…, W]``, rows ``[W]`` (several trailing axes count as one) or scalars ``[]``; every result has
the full
shape. On a GPU it is one kernel forward and one backward; nothing is saved but the operands. Elsewhere, and while
torch.compile traces, it is the torch text, which torch differentiates (and the compiler fuses in its own way).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._triton import AVAILABLE, INTERPRETED, disabled
from ..ahead import launch

LOOPS_INTERPRETED = False  # whether the interpreter runs kernels that loop

BLOCK_ROWS = 16
ELEMENTS = 4096  # of one tile


class Region:
    """``roles`` has "full", "row" or "scalar" for each operand; ``results`` is how many values come out."""

    def __init__(
        self,
        name: str,
        roles: tuple[str, ...],
        results: int,
        plain: Callable[..., Any],
        forward: Any,
        backward: Any,
    ) -> None:
        self.name, self.roles, self.results, self.plain = name, roles, results, plain
        self.forward, self.backward = forward, backward
        self.lead = roles.index("full")

    def __call__(self, *operands: Tensor) -> Tensor | tuple[Tensor, ...]:
        if torch.compiler.is_compiling() or not runs_on_triton(operands[self.lead]):
            out = self.plain(*operands)
        else:
            out = _Fused.apply(self, *operands)
        return out[0] if self.results == 1 else out


def runs_on_triton(x: Tensor) -> bool:
    """Whether kernels run for this operand: a GPU (or the interpreter), a dtype they compute in, no switch set."""
    if not (x.is_cuda or INTERPRETED) or not AVAILABLE or x.numel() == 0:
        return False
    return x.dtype in (torch.float32, torch.bfloat16, torch.float16) and not disabled()


def loops_on_triton(x: Tensor) -> bool:
    """The same for kernels that loop over chunks or keys: the interpreter, which takes seconds for one of them, runs
    them only where it is asked to."""
    return runs_on_triton(x) and (x.is_cuda or LOOPS_INTERPRETED)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, region: Region, *operands: Tensor) -> tuple[Tensor, ...]:
        full = operands[region.lead]
        dtype = full.dtype
        for t, role in zip(operands, region.roles, strict=True):
            dtype = torch.promote_types(dtype, t.dtype) if role == "full" else dtype
        outs = tuple(torch.empty(full.shape, dtype=dtype, device=full.device) for _ in range(region.results))
        grid, sizes = _tiling(full, region, operands)
        launch(region.forward, grid)(*_arguments(region, operands, sizes["W"]), *outs, **sizes)
        ctx.region = region
        ctx.save_for_backward(*operands)
        return outs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        region, operands = ctx.region, ctx.saved_tensors
        full = operands[region.lead]
        grid, sizes = _tiling(full, region, operands)
        needed = ctx.needs_input_grad[1:]
        found = [
            _gradient(t, role, grid, sizes["W"]) if need else full
            for t, role, need in zip(operands, region.roles, needed, strict=True)
        ]
        flags = {f"NEED{i}": need for i, need in enumerate(needed)}
        launch(region.backward, grid)(
            *_arguments(region, operands, sizes["W"]), *(g.contiguous() for g in grads), *found, **sizes, **flags
        )
        return None, *(
            _finish(g, t, role) if need else None
            for g, t, role, need in zip(found, operands, region.roles, needed, strict=True)
        )


def _tiling(full: Tensor, region: Region, operands: tuple[Tensor, ...]) -> tuple[tuple[int, int], dict[str, int]]:
    row = next((t.numel() for t, role in zip(operands, region.roles, strict=True) if role == "row"), full.shape[-1])
    rows = full.numel() // row
    columns = min(1 << (row - 1).bit_length(), ELEMENTS // BLOCK_ROWS)
    grid = ((rows + BLOCK_ROWS - 1) // BLOCK_ROWS, (row + columns - 1) // columns)
    return grid, {"R": rows, "W": row, "BLOCK_R": BLOCK_ROWS, "BLOCK_W": columns}


def _arguments(region: Region, operands: tuple[Tensor, ...], row: int) -> list[Any]:
    """Pointers, and for full operands the distance between rows. A piece of a split is read where it lies."""
    given: list[Any] = []
    for t, role in zip(operands, region.roles, strict=True):
        if role != "full":
            given.append(t.contiguous())
            continue
        t, stride = rows_of(t, row)
        given += [t, stride]
    return given


def rows_of(t: Tensor, row: int) -> tuple[Tensor, int]:
    """A tensor whose rows of ``row`` numbers (one or several trailing axes) are dense and whose leading axes are evenly
    spaced, with the distance between rows; copied only if it is not of that kind."""
    if t.is_contiguous():
        return t, row
    axes, width = 0, 1
    while width < row:
        axes += 1
        if t.stride(-axes) != width and t.shape[-axes] != 1:
            return t.contiguous(), row
        width *= t.shape[-axes]
    lead = t.dim() - axes
    if any(t.stride(i) != t.stride(i + 1) * t.shape[i + 1] for i in range(lead - 1)):
        return t.contiguous(), row
    return t, t.stride(lead - 1) if lead else row


def _gradient(t: Tensor, role: str, grid: tuple[int, int], row: int) -> Tensor:
    if role == "full":
        return torch.empty(t.shape, dtype=t.dtype, device=t.device)
    size = (grid[0], row) if role == "row" else grid
    return torch.empty(size, dtype=torch.float32, device=t.device)


def _finish(g: Tensor, t: Tensor, role: str) -> Tensor:
    """Add up the partial sums of an operand that was broadcast."""
    if role == "full":
        return g
    return (g.sum(0) if role == "row" else g.sum()).to(t.dtype).view(t.shape)

"""Launching the generated Triton kernels: allocation, tile sizes, grids. Argument order is that of the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from ._triton import INTERPRETED
from .cell import Backward, Cell, Forward, Inputs, previous

WARPS = {"forward": 4, "backward": 8}
WIDE = 8192  # channels of all rows from which half as many programs, twice as wide, are faster; measured on an H100
SCAN_TILES = {  # steps, channels, warps
    "scan_forward": (64, 16, 4),
    "scan_backward": (64, 16, 4),
    "trace": (32, 16, 4),
}
# The interpreter's time goes by operations, not by numbers: a tile there holds a short sequence whole.
INTERPRETED_STEPS, INTERPRETED_CHANNELS = 16, 64
ON_CHIP = 128 * 1024  # bytes of one head's matrices that one program can hold


def refusal(cell: Cell, x: Tensor, weight: Tensor | None) -> str | None:
    """Why the kernels cannot run this call, with a code; None where they can."""
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"W412 {cell.name}: the Triton kernels compute in float32, x is {x.dtype}"
    if weight is not None:
        width = _padded(weight.shape[-1])
        held = len(cell.gates) * width * width * weight.element_size()
        if held > ON_CHIP:
            return (
                f"W411 {cell.name}: the recurrent matrices of a head of width {weight.shape[-1]} take "
                f"{held // 1024} KiB in {weight.dtype}, one program holds {ON_CHIP // 1024} KiB"
            )
    return None


def kept_dtype(cell: Cell, index: int, weight: Tensor | None) -> torch.dtype:
    """float32; the dtype of the weight for what only the recurrent product reads."""
    if weight is not None and index == cell.recurrent and not cell.pointwise[index]:
        return _operand_dtype(weight)
    return torch.float32


def forward(cell: Cell, inputs: Inputs, keep: bool) -> Forward:
    """One launch: outputs, final state and, with `keep`, the states that the backward reads."""
    x = inputs.x.contiguous()
    rows, length, _, width = x.shape
    role = "scan_forward" if _scans(cell) else "forward"
    kernel = cell.kernels[role]
    outputs = {i: torch.empty(rows, length, width, dtype=x.dtype, device=x.device) for i in cell.outputs}
    kept: dict[int, Tensor] = {}
    flags = {}
    for i in cell.kept:
        dtype = kept_dtype(cell, i, inputs.weight)
        shared = i in outputs and i not in cell.before and dtype == x.dtype
        if keep and not shared:
            kept[i] = torch.empty(rows, length, width, dtype=dtype, device=x.device)
        elif keep:
            kept[i] = outputs[i]
        flags[f"KEEP_{cell.state[i]}"] = keep and not shared
    last = tuple(torch.empty(rows, width, dtype=torch.float32, device=x.device) for _ in cell.state)
    anything = outputs[cell.outputs[0]]  # a pointer for what is not stored
    grid, tile = _tile(inputs, role)
    kernel.function[grid](
        x,
        _mask(inputs),
        *([_operand(inputs.weight)] if inputs.weight is not None else []),
        *(h.contiguous() for h in inputs.hoist(cell)),
        *(s.contiguous() for s in inputs.state),
        *outputs.values(),
        *(kept.get(i, anything) for i in cell.kept),
        *last,
        rows,
        length,
        H=width,
        HAS_RESETS=inputs.resets is not None,
        **tile,
        **flags,
    )
    return Forward(tuple(outputs.values()), last, tuple(kept.values()))


def backward(
    cell: Cell, inputs: Inputs, kept: tuple[Tensor, ...], d_outputs: tuple[Tensor, ...], d_last: tuple[Tensor, ...]
) -> Backward:
    """One GEMM for R y of every step, one launch back over time, one GEMM a gate for the gradient of R."""
    x = inputs.x.contiguous()
    rows, length, _, width = x.shape
    role = "scan_backward" if _scans(cell) else "backward"
    kernel = cell.kernels[role]
    hoisted = inputs.hoist(cell)
    new = dict(zip(cell.kept, kept, strict=True))
    own = cell.shared.count(False)
    weight, y, recurrent = None, None, []
    if inputs.weight is not None and cell.recurrent is not None:
        weight = _operand(inputs.weight)
        y = new[cell.recurrent]  # what every step multiplied
        if cell.recurrent not in cell.before:
            y = previous(cell, cell.recurrent, inputs, y).to(weight.dtype)
        heads, gates, head_width, _ = weight.shape
        maps = weight.view(heads, gates * head_width, head_width).transpose(1, 2)
        recurrent = [_product(_rows(y, heads), maps)]  # [N, B·T, gates·D]
    d_x = torch.empty_like(x)
    d_r = torch.empty(rows, length, own, width, dtype=x.dtype, device=x.device)
    d_start = tuple(torch.empty(rows, width, dtype=torch.float32, device=x.device) for _ in cell.state)
    d_hoisted = tuple(torch.empty(rows, width, dtype=torch.float32, device=x.device) for _ in hoisted)
    pointwise = [i for i, read in enumerate(cell.pointwise) if read]
    grid, tile = _tile(inputs, role)
    kernel.function[grid](
        x,
        _mask(inputs),
        *recurrent,
        *([weight] if weight is not None else []),
        *(h.contiguous() for h in hoisted),
        *(inputs.state[i].contiguous() for i in pointwise if i not in cell.before),
        *(new[i] for i in pointwise),
        *(d.contiguous() for d in d_outputs),
        *(d.contiguous() for d in d_last),
        d_x,
        *([d_r] if own else []),
        *d_start,
        *d_hoisted,
        rows,
        length,
        H=width,
        HAS_RESETS=inputs.resets is not None,
        **tile,
    )
    d_weight = None
    if inputs.weight is not None and weight is not None and y is not None:
        d_weight = _weight_gradient(cell, weight, d_x, d_r, y).to(inputs.weight.dtype)
    return Backward(d_x, tuple(d.sum(0) for d in d_hoisted), d_weight, d_start)


def final_traces(cell: Cell, inputs: Inputs, kept: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One launch over the kept states: the traces after the last step."""
    x = inputs.x.contiguous()
    rows, length, _, width = x.shape
    new = dict(zip(cell.kept, kept, strict=True))
    pointwise = [i for i, read in enumerate(cell.pointwise) if read]
    found = tuple(torch.empty(rows, width, dtype=torch.float32, device=x.device) for _ in inputs.traces)
    grid, tile = _tile(inputs, "trace")
    cell.kernels["trace"].function[grid](
        x,
        _mask(inputs),
        *(h.contiguous() for h in cell.hoist_for_trace(inputs.params)),
        *(inputs.state[i].contiguous() for i in pointwise),
        *(new[i] for i in pointwise),
        *(e.contiguous() for e in inputs.traces),
        *found,
        rows,
        length,
        H=width,
        HAS_RESETS=inputs.resets is not None,
        **tile,
    )
    return found


def _scans(cell: Cell) -> bool:
    """Whether the scan is used where there is one."""
    return "scan_forward" in cell.kernels


def _padded(width: int) -> int:
    """A head's width as the tensor cores take it: a power of two, at least 16."""
    return max(16, 1 << (width - 1).bit_length())


def _tile(inputs: Inputs, role: str) -> tuple[tuple[int, ...], dict[str, object]]:
    """Grid, tile sizes and warps."""
    rows, length, _, width = inputs.x.shape
    tile: dict[str, object]
    if role in SCAN_TILES:
        steps, channels, warps = SCAN_TILES[role]
        if rows * width >= WIDE:
            channels *= 2
        if INTERPRETED:
            steps, channels = INTERPRETED_STEPS, min(INTERPRETED_CHANNELS, 1 << (width - 1).bit_length())
        steps = max(1 if INTERPRETED else 2, min(steps, 1 << (length - 1).bit_length()))
        tile = {"BLOCK_T": steps, "BLOCK": channels, "num_warps": warps, "num_stages": 1}
        return (rows * -(-width // channels),), tile
    if inputs.weight is None:
        block = 32
        return (-(-rows * width // block),), {"BLOCK": block, "num_warps": 1, "num_stages": 1}
    heads, _, head_width, _ = inputs.weight.shape
    tile = {
        "D": head_width,
        "BLOCK_B": 16,
        "BLOCK_D": _padded(head_width),
        "PRECISION": _precision(inputs.weight),
        "num_warps": WARPS[role],
        "num_stages": 1,
    }
    return (heads, -(-rows // 16)), tile


def _precision(weight: Tensor) -> str:
    """How a float32 dot is computed: TF32 only where torch allows it, else three TF32 passes or true float32."""
    if weight.dtype != torch.float32 or INTERPRETED or torch.version.hip:
        return "ieee"
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"


def _operand(weight: Tensor) -> Tensor:
    """The matrices as the kernel reads them."""
    return weight.to(_operand_dtype(weight)).contiguous()


def _operand_dtype(weight: Tensor) -> torch.dtype:
    """That of the weight; but the interpreter has no bfloat16 dot."""
    return torch.float32 if INTERPRETED and weight.dtype == torch.bfloat16 else weight.dtype


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Batched product in float32, as the forward's dot accumulated it.

    Rounded to the operands' dtype it could put the backward on another branch of a maximum than the forward took.
    """
    if left.dtype == torch.float32:
        return left @ right
    if left.is_cuda and torch.version.hip is None and "dtype" in torch.ops.aten.bmm.overloads():
        return torch.bmm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def _mask(inputs: Inputs) -> Tensor:
    """Resets as bytes; without resets a pointer that is not read."""
    return inputs.resets.contiguous().view(torch.uint8) if inputs.resets is not None else inputs.x


def _rows(y: Tensor, heads: int) -> Tensor:
    """[B, T, H] as [N, B·T, D], a view."""
    return y.reshape(-1, heads, y.shape[-1] // heads).transpose(0, 1)


def _weight_gradient(cell: Cell, weight: Tensor, d_x: Tensor, d_r: Tensor, y: Tensor) -> Tensor:
    """Sum over rows and steps of d r ⊗ y, one GEMM a gate, no copies: [N, gates, D, D]."""
    heads = weight.shape[0]
    own = iter(range(d_r.shape[2]))
    right = _rows(y, heads)
    found = torch.empty_like(weight)
    for place, (g, shared) in enumerate(zip(cell.gates, cell.shared, strict=True)):
        d = d_x[:, :, g] if shared else d_r[:, :, next(own)]
        torch.bmm(_rows(d.to(weight.dtype), heads).transpose(1, 2), right, out=found[:, place])
    return found

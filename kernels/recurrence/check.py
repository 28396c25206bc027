"""What a recurrence says about a call that does not fit its equations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .cell import Cell, Inputs


def check(cell: Cell, inputs: Inputs) -> None:
    """Raises ValueError that names the recurrence, what it takes and what it got."""
    x, resets = inputs.x, inputs.resets
    count = cell.input_axes.count("d")
    if x.dim() != (5 if cell.headed else 4) or x.shape[-2] != count or x.shape[1] < 1:
        shape = f"[B, T, N, {count}, D]" if cell.headed else f"[B, T, {count}, H]"
        raise ValueError(f"{cell.name}: x is {shape}, got {tuple(x.shape)}")
    rows, length = x.shape[:2]
    wide = (rows, x.shape[-1])
    if cell.headed:
        features = _check_beside(cell, inputs)
        _check_heads(cell, inputs, features)
    width = x.shape[-1] * (x.shape[2] if cell.headed else 1)
    _same(cell, "params", inputs.params, (len(cell.params),), (width,))
    if not cell.headed:
        _same(cell, "state", inputs.state, (len(cell.state),), wide)
    _same(cell, "traces", inputs.traces, (0, cell.traced), wide)
    _check_weight(cell, inputs.weight, rows, width)
    if resets is not None and (resets.dtype != torch.bool or tuple(resets.shape) != (rows, length)):
        got = f"{resets.dtype} {tuple(resets.shape)}"
        raise ValueError(f"{cell.name}: resets are bool [{rows}, {length}], got {got}")


def _same(cell: Cell, kind: str, given: Sequence[Tensor], wanted: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if len(given) not in wanted or any(t.shape != shape for t in given):
        got = [tuple(t.shape) for t in given]
        raise ValueError(f"{cell.name}: {kind} are {' or '.join(map(str, wanted))} of {shape}, got {got}")


def _check_beside(cell: Cell, inputs: Inputs) -> int:
    """Features and data; the number of features."""
    lead = tuple(inputs.x.shape[:3])
    kinds = [axes for axes in ("e", "") if axes in cell.input_axes]
    if len(inputs.beside) != len(kinds):
        raise ValueError(f"{cell.name}: x is a tuple of {1 + len(kinds)} tensors, got {1 + len(inputs.beside)}")
    features = 1
    for axes, t in zip(kinds, inputs.beside, strict=True):
        count = cell.input_axes.count(axes)
        what, shape = "features" if axes else "data", (*lead, count)
        if t.dim() != (5 if axes else 4) or tuple(t.shape[:4]) != shape:
            tail = ", E]" if axes else "]"
            text = ", ".join(map(str, shape))
            raise ValueError(f"{cell.name}: {what} are [{text}{tail}, got {tuple(t.shape)}")
        features = t.shape[4] if axes else features
        if not axes and t.requires_grad:
            raise ValueError(f"{cell.name}: data gets no gradient, and requires one here; detach it")
    return features


def _check_heads(cell: Cell, inputs: Inputs, features: int) -> None:
    rows, _, heads, _, width = inputs.x.shape
    shapes = {"d": (rows, heads, width), "ed": (rows, heads, features, width)}
    wanted = [shapes[axes] for axes in cell.state_axes]
    got = [tuple(s.shape) for s in inputs.state]
    if got != wanted:
        raise ValueError(f"{cell.name}: state is {', '.join(map(str, wanted))}, got {got}")


def _check_weight(cell: Cell, weight: Tensor | None, rows: int, width: int) -> None:
    name = cell.name
    if (weight is None) != (cell.recurrent is None):
        raise ValueError(f"{name}: weight is {'missing' if weight is None else 'given, but nothing is recurrent'}")
    if weight is None:
        return
    n, g, d, e = weight.shape[-4:] if weight.dim() in (4, 5) else (0, 0, 0, 0)
    own = weight.dim() == 5
    if g != len(cell.gates) or d != e or n * d != width or (own and weight.shape[0] != rows):
        raise ValueError(
            f"{name}: weight is [N, {len(cell.gates)}, D, D] with N·D = {width}, or {rows} of these, "
            f"got {tuple(weight.shape)}"
        )

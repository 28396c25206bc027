"""Launching the generated Triton kernels: allocation and the order of arguments, which is that of the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .._triton import INTERPRETED
from ..ahead import launch
from .cell import Backward, Cell, Forward, Inputs, previous
from .heads import CARRIED, head_tile, warps_of
from .leaves import shape_of
from .plans import plan
from .products import operand, operand_dtype, recurrent_terms, weight_gradient
from .tiles import Plan, channels, chunk_length, parameters

Tensors = tuple[Tensor, ...]
CHUNKED = ("channels", "heads")  # schedules that may run chunks of time at once


def kept_dtype(cell: Cell, index: int, weight: Tensor | None) -> torch.dtype:
    """float32; the dtype of the weight for what only the recurrent product reads."""
    if weight is not None and index == cell.recurrent and not cell.pointwise[index]:
        return operand_dtype(weight)
    return torch.float32


def forward(cell: Cell, inputs: Inputs, keep: bool, how: Plan | None = None) -> Forward:
    """Outputs, final state and, with `keep`, the states that the backward reads."""
    x = inputs.x if cell.headed else inputs.x.contiguous()
    rows, length = x.shape[:2]
    width = x.shape[-1]
    how = how or plan(cell, inputs, "forward")
    made = partial(_steps, cell, inputs)
    outputs = {i: made(i, x.dtype) for i in cell.outputs}
    kept: dict[int, Tensor] = {}
    flags = {}
    for i in cell.kept:
        dtype = kept_dtype(cell, i, inputs.weight)
        shared = i in outputs and i not in cell.before and dtype == x.dtype
        if keep and not shared:
            kept[i] = made(i, dtype)
        elif keep:
            kept[i] = outputs[i]
        flags[f"KEEP_{cell.name_of(i)}"] = keep and not shared
    last = _states(cell, inputs)
    hoisted = _hoist(cell, inputs, "hoist", len(cell.hoisted))
    start = tuple(s.contiguous() for s in inputs.state)
    if how.chunks > 1:
        start = _enter(cell, inputs, how, (*_given(cell, inputs, x), _mask(inputs), *hoisted), start, "summary")
    anything = outputs[cell.outputs[0]]  # a pointer for what is not stored
    weight = operand(inputs.weight)
    fixed = {"HAS_RESETS": inputs.resets is not None, **flags}
    head = (*_given(cell, inputs, x), _mask(inputs), *weight, *hoisted)
    tail = (*outputs.values(), *(kept.get(i, anything) for i in cell.kept), *last)
    if how.schedule == "split":
        assert cell.recurrent is not None
        turn = torch.empty(2, rows, width, dtype=weight[0].dtype, device=x.device)
        turn[0].copy_(start[cell.recurrent])
        for leg in _legs(length, backwards=False):
            began = start if leg.first == 0 else last
            _split(cell, "split_forward", how, x, (*head, *began, *tail, rows, length), turn, leg, fixed)
    else:
        role = f"{how.schedule}_forward"
        extra = (how.chunk,) if how.schedule in CHUNKED else ()
        launch(cell.kernels[role].function, how.grid)(
            *head, *start, *tail, rows, length, *extra, **how.constants, **how.options, **fixed
        )
    return Forward(tuple(outputs.values()), last, tuple(kept.values()))


def backward(
    cell: Cell, inputs: Inputs, kept: Tensors, d_outputs: Tensors, d_last: Tensors, how: Plan | None = None
) -> Backward:
    """One GEMM for R y of every step, the loop back over time, one batch of GEMMs for the gradient of R."""
    x = inputs.x if cell.headed else inputs.x.contiguous()
    rows, length = x.shape[:2]
    width = x.shape[-1]
    how = how or plan(cell, inputs, "backward")
    hoisted = _hoist(cell, inputs, "hoist", len(cell.hoisted))
    new = dict(zip(cell.kept, kept, strict=True))
    own = cell.shared.count(False)
    weight, y, recurrent = operand(inputs.weight), None, []
    if weight and cell.recurrent is not None:
        y = new[cell.recurrent]  # what every step multiplied
        if cell.recurrent not in cell.before:
            y = previous(cell, cell.recurrent, inputs, y).to(weight[0].dtype)
        recurrent = [recurrent_terms(weight[0], y)]
    d_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    d_beside = tuple(torch.empty_like(f, memory_format=torch.contiguous_format) for f in _features(cell, inputs))
    d_r = torch.empty(rows, length, own, width, dtype=x.dtype, device=x.device)
    d_start = _states(cell, inputs)
    split = how.schedule == "split"
    shape = (len(hoisted), rows, how.chunks, inputs.params[0].shape[0] if inputs.params else 0)
    d_hoisted = (torch.zeros if split else torch.empty)(shape, dtype=torch.float32, device=x.device)
    pointwise = [i for i, read in enumerate(cell.pointwise) if read]
    started = [i for i in pointwise if i not in cell.before]
    start = tuple(inputs.state[i].contiguous() for i in started)
    d_outputs = tuple(d.contiguous() for d in d_outputs)
    ends = tuple(d.contiguous() for d in d_last)
    if how.chunks > 1:
        early = [new[i] for i, read in enumerate(cell.seen_early) if read]
        seen = (*early, *(new[i] for i in cell.kept_totals))
        given = (*_given(cell, inputs, x), _mask(inputs), *hoisted, *seen, *d_outputs)
        ends = _enter(cell, inputs, how, given, ends, "back_summary")
        start = tuple(_chunk_starts(new[i], inputs.state[i], how) for i in started)
    head = (*_given(cell, inputs, x), _mask(inputs), *recurrent, *weight, *hoisted)
    states = tuple(new[i] for i in (*pointwise, *cell.kept_totals))
    tail = (d_x, *d_beside, *([d_r] if own else []), *d_start, *d_hoisted.unbind(0), rows, length)
    fixed = {"HAS_RESETS": inputs.resets is not None}
    if split:
        turn = torch.empty(2, rows, len(cell.gates), width, dtype=weight[0].dtype, device=x.device)
        for leg in _legs(length, backwards=True):
            began = start if leg.first == 0 else tuple(new[i][:, leg.first - 1].contiguous() for i in started)
            arrives = ends if leg.end == length and leg.step else d_start
            arguments = (*head, *began, *states, *d_outputs, *arrives, *tail)
            _split(cell, "split_backward", how, x, arguments, turn, leg, fixed)
    else:
        role = f"{how.schedule}_backward"
        extra = (how.chunk,) if how.schedule in CHUNKED else ()
        launch(cell.kernels[role].function, how.grid)(
            *head, *start, *states, *d_outputs, *ends, *tail, *extra, **how.constants, **how.options, **fixed
        )
    d_weight = None
    if inputs.weight is not None and y is not None:
        d_weight = weight_gradient(cell, weight[0], d_x, d_r, y).to(inputs.weight.dtype)
    # chunks are summed here, rows with the gradients of the parameters: one sum of both would be long, and few of them
    d_hoisted = d_hoisted.sum(2) if how.chunks > 1 and len(hoisted) else d_hoisted[:, :, 0]
    return Backward(d_x, tuple(d_hoisted.unbind(0)), d_weight, d_start, d_beside)


def final_traces(cell: Cell, inputs: Inputs, kept: Tensors) -> Tensors:
    """From the kept states: the traces after the last step."""
    x = inputs.x.contiguous()
    rows, length, _, width = x.shape
    chunk = chunk_length(cell, rows, length, width)
    chunks = -(-length // chunk)
    new = dict(zip(cell.kept, kept, strict=True))
    pointwise = [i for i, read in enumerate(cell.pointwise) if read]
    k = len(cell.state)
    ends, jacobians = _empty(x, len(inputs.traces), rows, chunks, width), _empty(x, k * k, rows, chunks, width)
    cut = torch.empty(rows, chunks, width, dtype=torch.int8, device=x.device)
    fixed = {"HAS_RESETS": inputs.resets is not None}
    grid, constants = channels(rows * chunks, width)
    launch(cell.kernels["trace"].function, grid)(
        x,
        _mask(inputs),
        *_hoist(cell, inputs, "trace_hoist", cell.trace_hoisted),
        *(inputs.state[i].contiguous() for i in pointwise),
        *(new[i] for i in pointwise),
        *(e.contiguous() for e in inputs.traces),
        *ends,
        *jacobians,
        cut,
        rows,
        length,
        chunk,
        **constants,
        **fixed,
    )
    if chunks == 1:
        return tuple(e[:, 0] for e in ends)
    found = _empty(x, len(inputs.traces), rows, width)
    grid, constants = channels(rows, width)
    launch(cell.kernels["trace_carry"].function, grid)(
        *ends, *jacobians, cut, *found, rows, chunks, **constants, **fixed
    )
    return found


def parameter_gradients(
    cell: Cell, inputs: Inputs, d_hoisted: Tensors, d_start: Tensors, attached: Sequence[bool]
) -> Tensors:
    """[H] each, from what `backward` left to be summed, and λ·E for the state variables that came in detached."""
    if not cell.params:
        return ()
    width = inputs.params[0].shape[0]
    found = _empty(inputs.x, len(cell.params), width)
    grid, constants = parameters(width)
    given: tuple[object, ...] = (*_params(inputs), *d_hoisted, *found, d_hoisted[0].shape[0])
    if cell.trace:
        past = {f"PAST_{s}": bool(inputs.traces) and not a for s, a in zip(cell.state, attached, strict=True)}
        # without traces, pointers that are not read
        traces = [e.contiguous() for e in inputs.traces] or [found[0]] * cell.traced
        given = (*given, *d_start, *traces, _mask(inputs), *inputs.x.shape[:2])
        constants |= {"HAS_RESETS": inputs.resets is not None, **past}
    launch(cell.kernels["hoist_vjp"].function, grid)(*given, BLOCK_R=16, **constants)
    return found


def _hoist(cell: Cell, inputs: Inputs, role: str, count: int) -> Tensors:
    """The parameter-only values that a loop reads, [H] each."""
    if not count:
        return ()
    width = inputs.params[0].shape[0]
    found = _empty(inputs.x, count, width)
    grid, constants = parameters(width)
    launch(cell.kernels[role].function, grid)(*_params(inputs), *found, **constants)
    return found


def _params(inputs: Inputs) -> Tensors:
    return tuple(p.contiguous() for p in inputs.params)


def _enter(
    cell: Cell, inputs: Inputs, how: Plan, given: Sequence[object], start: Tensors, role: str
) -> tuple[Tensor, ...]:
    """What enters every chunk, [B, C, H]: of the state, or backwards of its adjoint."""
    x, k = inputs.x, len(cell.state)
    rows, length = x.shape[:2]
    owners = [next(i for i, _, at in cell.maps if at == place) for place in range(cell.numbers)]
    maps = tuple(_chunk_values(cell, inputs, how, i) for i in (*owners, *range(k)))
    shape = (x.shape[2],) if cell.headed else (x.shape[-1],)
    cut = torch.empty(rows, how.chunks, *shape, dtype=torch.int8, device=x.device)
    enters = tuple(_chunk_values(cell, inputs, how, i) for i in range(k))
    fixed = {"HAS_RESETS": inputs.resets is not None}
    launch(cell.kernels[role].function, how.grid)(
        *given, *maps, cut, rows, length, how.chunk, **how.constants, **how.options, **fixed
    )
    if cell.headed:
        grid, constants, options = head_tile(inputs, rows, warps_of(inputs, CARRIED))
    else:
        (grid, constants), options = channels(rows, x.shape[-1]), {}
    backwards = role == "back_summary"
    launch(cell.kernels["carry"].function, grid)(
        *maps, cut, *start, *enters, rows, how.chunks, REVERSED=backwards, **constants, **options, **fixed
    )
    return enters


def _chunk_values(cell: Cell, inputs: Inputs, how: Plan, index: int) -> Tensor:
    """[B, C, …] for a state variable."""
    shape = shape_of(cell, index, inputs)
    return torch.empty(inputs.x.shape[0], how.chunks, *shape, dtype=torch.float32, device=inputs.x.device)


def _steps(cell: Cell, inputs: Inputs, index: int, dtype: torch.dtype) -> Tensor:
    """[B, T, …] for a state variable, an output or a total."""
    return torch.empty(*inputs.x.shape[:2], *shape_of(cell, index, inputs), dtype=dtype, device=inputs.x.device)


def _states(cell: Cell, inputs: Inputs) -> Tensors:
    """One tensor as every state variable; in one piece of memory where they are alike."""
    if not cell.headed:
        return _empty(inputs.x, len(cell.state), *inputs.state[0].shape)
    return tuple(torch.empty(s.shape, dtype=torch.float32, device=s.device) for s in inputs.state)


def _features(cell: Cell, inputs: Inputs) -> Tensors:
    return inputs.beside[: "e" in cell.input_axes]


def _given(cell: Cell, inputs: Inputs, x: Tensor) -> tuple[object, ...]:
    """The inputs as the kernels take them: with heads a tensor of each kind, and how far its tokens are apart."""
    if not cell.headed:
        return (x,)
    given: list[object] = []
    for t in (x, *inputs.beside):
        # a piece of a larger product is read where it lies
        dense = all(t.stride(d) == t.stride(d + 1) * t.shape[d + 1] for d in range(2, t.dim() - 1))
        if not dense or t.stride(-1) != 1 or t.stride(0) != t.stride(1) * t.shape[1]:
            t = t.contiguous()
        given += [t, t.stride(1)]
    return tuple(given)


def _chunk_starts(new: Tensor, start: Tensor, how: Plan) -> Tensor:
    """The state before every chunk, [B, C, H], from its new values at every step."""
    before = new[:, how.chunk - 1 : (how.chunks - 1) * how.chunk : how.chunk]
    return torch.cat([start[:, None].to(new.dtype), before], dim=1)


@dataclass(frozen=True)
class _Leg:
    """The steps of one launch, or one half of a step: its equations, or the product that follows them."""

    first: int
    end: int
    step: bool = True
    through: bool = True


def _legs(length: int, backwards: bool) -> list[_Leg]:
    """All in one launch; but the interpreter runs programs one after another, so none may wait for the next."""
    if not INTERPRETED:
        return [_Leg(0, length)]
    if not backwards:
        return [_Leg(t, t + 1, through=False) for t in range(length)]
    return [_Leg(t, t + 1, step, not step) for t in reversed(range(length)) for step in (True, False)]


def _split(
    cell: Cell,
    role: str,
    how: Plan,
    x: Tensor,
    given: tuple[object, ...],
    turn: Tensor,
    leg: _Leg,
    fixed: dict[str, bool],
) -> None:
    """The launches of a split loop: as many rows at a time as programs are resident together."""
    halves = {"STEP": leg.step, "THROUGH": leg.through}
    for row in range(0, x.shape[0], how.row_step):
        arrived = torch.zeros(how.grid[0] * how.grid[2], dtype=torch.int32, device=x.device)
        launch(cell.kernels[role].function, how.grid)(
            *given, turn, arrived, row, leg.first, leg.end, **{**how.constants, **halves}, **how.options, **fixed
        )


def _empty(x: Tensor, count: int, *shape: int) -> Tensors:
    """`count` float32 tensors in one piece of memory."""
    return torch.empty(count, *shape, dtype=torch.float32, device=x.device).unbind(0)


def _mask(inputs: Inputs) -> Tensor:
    """Resets as bytes; without resets a pointer that is not read."""
    return inputs.resets.contiguous().view(torch.uint8) if inputs.resets is not None else inputs.x

"""A recurrence as one differentiable function, by two routes to the same code.

Called plainly it is a `torch.autograd.Function`. Under torch.compile it is a pair of custom operators, forward and
backward, each one node in the graph whatever T is. Neither can be differentiated twice, and both say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .cell import Cell, Inputs, compute_dtype
from .engine import kept_dtype, kept_in_outputs, run_backward, run_forward
from .leaves import shape_of


def _flat_forward(cell: Cell, inputs: Inputs, impl: str, keep: bool) -> list[Tensor]:
    """Outputs, final state, final traces, then what the backward needs beside the outputs."""
    found, traces = run_forward(cell, inputs, impl, keep)
    flat = [*found.outputs, *found.last, *traces]
    if keep:
        held = kept_in_outputs(cell, inputs.x, inputs.weight, impl)
        flat += [k for k, inside in zip(found.kept, held, strict=True) if not inside]
    return flat


def _kept(cell: Cell, inputs: Inputs, impl: str, flat: Sequence[Tensor]) -> list[Tensor]:
    """What run_backward wants, picked from a forward's flat result."""
    held = kept_in_outputs(cell, inputs.x, inputs.weight, impl)
    extra = iter(flat[len(cell.outputs) + len(cell.state) + len(inputs.traces) :])
    return [flat[cell.outputs.index(i)] if inside else next(extra) for i, inside in zip(cell.kept, held, strict=True)]


class _Sequence(torch.autograd.Function):
    """The plain route."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        impl: str,
        keep: bool,
        attached: tuple[bool, ...],
        resets: Tensor | None,
        x: Tensor,
        weight: Tensor | None,
        beside: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        inputs = _inputs(cell, x, weight, resets, tensors, beside)
        k = len(cell.state)
        flat = _flat_forward(cell, inputs, impl, keep)
        public = len(cell.outputs) + k + len(inputs.traces)
        ctx.cell, ctx.impl, ctx.attached, ctx.keep, ctx.beside = cell, impl, attached, keep, beside
        if keep:
            ctx.save_for_backward(resets, x, weight, *tensors, *_kept(cell, inputs, impl, flat))
        ctx.mark_non_differentiable(*flat[len(cell.outputs) + k : public])
        return tuple(flat[:public])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        cell: Cell = ctx.cell
        resets, x, weight, *rest = ctx.saved_tensors
        k, o = len(cell.state), len(cell.outputs)
        tensors, kept = rest[: len(rest) - len(cell.kept)], rest[len(rest) - len(cell.kept) :]
        inputs = _inputs(cell, x, weight, resets, tensors, ctx.beside)
        d_x, d_params, d_weight, d_state, d_beside = run_backward(
            cell, inputs, ctx.impl, kept, grads[:o], grads[o : o + k], ctx.attached
        )
        data = [None] * (ctx.beside - len(d_beside))  # comes last and has no gradient
        traces = [None] * len(inputs.traces)
        return (*[None] * 5, d_x, d_weight, None, *d_params, *d_state, *traces, *d_beside, *data)


def _inputs(
    cell: Cell, x: Tensor, weight: Tensor | None, resets: Tensor | None, tensors: Sequence[Tensor], beside: int
) -> Inputs:
    """From the parameters, the state, the traces and `beside` tensors of features and data, in this order."""
    p, k, end = len(cell.params), len(cell.state), len(tensors) - beside
    given = tuple(tensors)
    return Inputs(x, given[:p], weight, given[p : p + k], given[p + k : end], resets, given[end:])


def apply(cell: Cell, inputs: Inputs, impl: str, keep: bool, attached: tuple[bool, ...]) -> tuple[Tensor, ...]:
    """The plain route: outputs, final state, final traces."""
    tensors = (*inputs.params, *inputs.state, *inputs.traces, *inputs.beside)
    count = len(inputs.beside)
    return _Sequence.apply(cell, impl, keep, attached, inputs.resets, inputs.x, inputs.weight, count, *tensors)


_REGISTERED: dict[str, Any] = {}  # operators live as long as the process; a module loaded twice finds its own


def register(cell: Cell) -> Any:
    """The forward operator of `cell` for graphs; its backward and its shapes are registered with it."""
    title = f"cortexc::{cell.name}_{cell.digest}"
    if title not in _REGISTERED:
        _REGISTERED[title] = _register(cell, title)
    return _REGISTERED[title]


def _register(cell: Cell, title: str) -> Any:
    arguments = "Tensor x, Tensor[] params, Tensor? weight, Tensor[] state, Tensor[] traces, Tensor? resets"
    arguments += ", Tensor[] beside"

    def forward(
        x: Tensor,
        params: Sequence[Tensor],
        weight: Tensor | None,
        state: Sequence[Tensor],
        traces: Sequence[Tensor],
        resets: Tensor | None,
        beside: Sequence[Tensor],
        impl: str,
        keep: bool,
        attached: Sequence[bool],
    ) -> list[Tensor]:
        inputs = Inputs(x, tuple(params), weight, tuple(state), tuple(traces), resets, tuple(beside))
        return _flat_forward(cell, inputs, impl, keep)

    def forward_shapes(
        x: Tensor,
        params: Sequence[Tensor],
        weight: Tensor | None,
        state: Sequence[Tensor],
        traces: Sequence[Tensor],
        resets: Tensor | None,
        beside: Sequence[Tensor],
        impl: str,
        keep: bool,
        attached: Sequence[bool],
    ) -> list[Tensor]:
        given = Inputs(x, tuple(params), weight, tuple(state), tuple(traces), resets, tuple(beside))
        lead, dtype = x.shape[:2], compute_dtype(x)
        flat = [x.new_empty(*lead, *shape_of(cell, i, given)) for i in cell.outputs]
        flat += [x.new_empty(s.shape, dtype=dtype) for s in (*state, *traces)]
        if keep:
            for i, inside in zip(cell.kept, kept_in_outputs(cell, x, weight, impl), strict=True):
                if not inside:
                    dtype = kept_dtype(cell, i, x, weight, impl)
                    flat.append(x.new_empty(*lead, *shape_of(cell, i, given), dtype=dtype))
        return flat

    def backward(
        x: Tensor,
        params: Sequence[Tensor],
        weight: Tensor | None,
        state: Sequence[Tensor],
        traces: Sequence[Tensor],
        resets: Tensor | None,
        beside: Sequence[Tensor],
        kept: Sequence[Tensor],
        d_outputs: Sequence[Tensor],
        d_last: Sequence[Tensor],
        impl: str,
        attached: Sequence[bool],
    ) -> list[Tensor]:
        inputs = Inputs(x, tuple(params), weight, tuple(state), tuple(traces), resets, tuple(beside))
        found = run_backward(cell, inputs, impl, kept, d_outputs, d_last, attached)
        d_x, d_params, d_weight, d_state, d_beside = found
        return [d_x, *d_params, *([d_weight] if d_weight is not None else []), *d_state, *d_beside]

    def backward_shapes(
        x: Tensor,
        params: Sequence[Tensor],
        weight: Tensor | None,
        state: Sequence[Tensor],
        traces: Sequence[Tensor],
        resets: Tensor | None,
        beside: Sequence[Tensor],
        kept: Sequence[Tensor],
        d_outputs: Sequence[Tensor],
        d_last: Sequence[Tensor],
        impl: str,
        attached: Sequence[bool],
    ) -> list[Tensor]:
        grads = [x, *params, *([weight] if weight is not None else []), *state, *beside[: "e" in cell.input_axes]]
        return [torch.empty(g.shape, dtype=g.dtype, device=g.device) for g in grads]

    rest = "str impl, bool keep, bool[] attached"
    forward_op = torch.library.custom_op(
        f"{title}_forward", forward, mutates_args=(), schema=f"({arguments}, {rest}) -> Tensor[]"
    )
    rest = "Tensor[] kept, Tensor[] d_outputs, Tensor[] d_last, str impl, bool[] attached"
    backward_op = torch.library.custom_op(
        f"{title}_backward", backward, mutates_args=(), schema=f"({arguments}, {rest}) -> Tensor[]"
    )
    forward_op.register_fake(forward_shapes)
    backward_op.register_fake(backward_shapes)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
        x, params, weight, state, traces, resets, beside, impl, keep, attached = inputs
        ctx.impl, ctx.keep, ctx.attached = impl, keep, tuple(attached)
        ctx.counts = len(params), len(state), len(traces), len(beside)
        if keep:
            given = Inputs(x, tuple(params), weight, tuple(state), tuple(traces), resets, tuple(beside))
            kept = _kept(cell, given, impl, output)
            ctx.save_for_backward(resets, x, weight, *params, *state, *traces, *beside, *kept)
        ctx.set_materialize_grads(False)

    def differentiate(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
        resets, x, weight, *rest = ctx.saved_tensors
        p, k, e, f = ctx.counts
        params, state, traces, rest = rest[:p], rest[p : p + k], rest[p + k : p + k + e], rest[p + k + e :]
        beside, kept = rest[:f], rest[f:]
        given = Inputs(x, tuple(params), weight, tuple(state), tuple(traces), resets, tuple(beside))
        o, dtype = len(cell.outputs), compute_dtype(x)
        d_outputs = [
            g if g is not None else x.new_zeros(*x.shape[:2], *shape_of(cell, i, given))
            for i, g in zip(cell.outputs, grads[:o], strict=True)
        ]
        d_last = [
            g if g is not None else x.new_zeros(s.shape, dtype=dtype)
            for s, g in zip(state, grads[o : o + k], strict=True)
        ]
        flat = backward_op(
            x, params, weight, state, traces, resets, beside, kept, d_outputs, d_last, ctx.impl, ctx.attached
        )
        has = weight is not None
        d_state, d_beside = flat[1 + p + has : 1 + p + has + k], flat[1 + p + has + k :]
        return (
            flat[0],
            list(flat[1 : 1 + p]),
            flat[1 + p] if has else None,
            list(d_state),
            [None] * e,
            None,
            [*d_beside, *[None] * (f - len(d_beside))],
            None,
            None,
            None,
        )

    forward_op.register_autograd(differentiate, setup_context=setup_context)
    return getattr(torch.ops.cortexc, f"{title.split('::')[1]}_forward").default

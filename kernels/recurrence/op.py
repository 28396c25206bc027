"""`RecurrenceOp`: the one object through which everything else uses a recurrence."""

from __future__ import annotations

import torch
from torch import Tensor

from ..warnings import warn_once
from . import autograd
from ._triton import AVAILABLE, INTERPRETED, disabled
from .cell import Cell, Inputs, compute_dtype
from .reference import reference
from .step import advance
from .tiles import refusal

IMPLS = ("reference", "torch", "triton", "auto")

Tensors = tuple[Tensor, ...]


class RecurrenceOp:
    """A recurrence over sequences and over single steps, differentiable.

    x: [B, T, G, H], G inputs in declared order. params: [H] each. weight: [N, gates, D, D] (out, in) with H = N·D, or
    [B, N, gates, D, D] where each row has its own, or None. state: [B, H] each, None for the
    initial one. traces: [B, H] each, parameter-major, or empty. resets: bool [B, T] or None. Everything computes in
    float32, or in float64 when x is; outputs have the dtype of x.

    Gradients go to x, params, weight and the incoming state. Where an incoming state tensor does not require grad and
    traces came with it, params also get λ·E, their gradient along the steps before this call.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._graph_op = autograd.register(cell)

    def __repr__(self) -> str:
        return f"RecurrenceOp({self.cell.name}, {self.cell.digest})"

    def sequence(
        self,
        x: Tensor,
        params: Tensors = (),
        weight: Tensor | None = None,
        state: Tensors | None = None,
        traces: Tensors = (),
        resets: Tensor | None = None,
        *,
        impl: str = "auto",
    ) -> tuple[Tensors, Tensors, Tensors]:
        """Outputs [B, T, H] each, final state [B, H] each, final traces [B, H] each."""
        if weight is not None and weight.dim() == 5 and weight.shape[0] == 1:
            weight = weight[0]  # of one row, or of all alike
        state = self.initial_state(x.shape[0], x.shape[-1], x) if state is None else tuple(state)
        self._check(x, params, weight, state, traces, resets)
        impl = self._choose(x, weight, impl)
        inputs = Inputs(x, tuple(params), weight, state, tuple(e.detach() for e in traces), resets)
        if impl == "reference":
            return reference(self.cell, inputs)
        dtype = compute_dtype(x)
        attached = tuple(s.requires_grad for s in state)
        keep = _differentiated(x, params, weight, state)
        params = tuple(p.to(dtype) for p in inputs.params)
        state = tuple(s.to(dtype) for s in state)
        traces = tuple(e.to(dtype) for e in inputs.traces)
        if torch.compiler.is_compiling():
            flat = self._graph_op(
                x, list(params), weight, list(state), list(traces), resets, impl, keep, list(attached)
            )
        else:
            flat = autograd.apply(self.cell, Inputs(x, params, weight, state, traces, resets), impl, keep, attached)
        o, k = len(self.cell.outputs), len(self.cell.state)
        end = o + k + len(traces)
        return tuple(flat[:o]), tuple(flat[o : o + k]), tuple(e.detach() for e in flat[o + k : end])

    def step(
        self,
        x: Tensor,
        params: Tensors = (),
        weight: Tensor | None = None,
        state: Tensors | None = None,
        traces: Tensors = (),
        resets: Tensor | None = None,
        *,
        impl: str = "auto",
    ) -> tuple[Tensors, Tensors, Tensors]:
        """One step: x [B, G, H], resets bool [B]; outputs [B, H] each, new state, new traces."""
        wide, mask = x[:, None], resets[:, None] if resets is not None else None
        if weight is not None and weight.dim() == 5 and weight.shape[0] == 1:
            weight = weight[0]
        state = self.initial_state(x.shape[0], x.shape[-1], x) if state is None else tuple(state)
        other = x.is_cuda and impl == "auto"  # a kernel's, or else refused aloud
        other = other or torch.compiler.is_compiling() or _differentiated(x, params, weight, state)
        if not other and self._choose(wide, weight, impl) == "torch":
            self._check(wide, params, weight, state, traces, mask)
            return advance(self.cell, x, params, weight, state, traces, resets)
        outputs, state, traces = self.sequence(wide, params, weight, state, traces, mask, impl=impl)
        return tuple(y[:, 0] for y in outputs), state, traces

    def initial_state(self, rows: int, width: int, like: Tensor) -> Tensors:
        """The state before the first step, [B, H] each, on the device of `like`."""
        dtype = compute_dtype(like)
        return tuple(torch.full((rows, width), v, dtype=dtype, device=like.device) for v in self.cell.initial)

    def initial_traces(self, rows: int, width: int, like: Tensor) -> Tensors:
        """Zero traces, [B, H] each; none where the recurrence has none."""
        dtype = compute_dtype(like)
        return tuple(torch.zeros(rows, width, dtype=dtype, device=like.device) for _ in range(self.cell.traced))

    def _choose(self, x: Tensor, weight: Tensor | None, impl: str) -> str:
        if impl not in IMPLS:
            raise ValueError(f"impl is one of {', '.join(IMPLS)}, not {impl!r}")
        if impl == "triton":
            if not AVAILABLE:
                raise RuntimeError("impl='triton' needs the package triton, which is not installed")
            if not x.is_cuda and not INTERPRETED:
                raise RuntimeError("impl='triton' on CPU tensors needs the interpreter: TRITON_INTERPRET=1")
            if reason := refusal(self.cell, x, weight):
                raise RuntimeError(reason)
        if impl != "auto":
            return impl
        if not (x.is_cuda or INTERPRETED) or not AVAILABLE or disabled():
            return "torch"
        reason = refusal(self.cell, x, weight)
        if reason is not None:
            warn_once(f"{reason}; running the torch loop, which is much slower", stacklevel=4)
        return "torch" if reason is not None else "triton"

    def _check(
        self, x: Tensor, params: Tensors, weight: Tensor | None, state: Tensors, traces: Tensors, resets: Tensor | None
    ) -> None:
        cell, name = self.cell, self.cell.name
        if x.dim() != 4 or x.shape[2] != len(cell.inputs) or x.shape[1] < 1:
            raise ValueError(f"{name}: x is [B, T, {len(cell.inputs)}, H], got {tuple(x.shape)}")
        rows, length, _, width = x.shape
        for kind, given, wanted, shape in (
            ("params", params, (len(cell.params),), (width,)),
            ("state", state, (len(cell.state),), (rows, width)),
            ("traces", traces, (0, cell.traced), (rows, width)),
        ):
            if len(given) not in wanted or any(tuple(t.shape) != shape for t in given):
                got = [tuple(t.shape) for t in given]
                raise ValueError(f"{name}: {kind} are {' or '.join(map(str, wanted))} of {shape}, got {got}")
        if (weight is None) != (cell.recurrent is None):
            raise ValueError(f"{name}: weight is {'missing' if weight is None else 'given, but nothing is recurrent'}")
        if weight is not None:
            n, g, d, e = weight.shape[-4:] if weight.dim() in (4, 5) else (0, 0, 0, 0)
            own = weight.dim() == 5
            if g != len(cell.gates) or d != e or n * d != width or (own and weight.shape[0] != rows):
                raise ValueError(
                    f"{name}: weight is [N, {len(cell.gates)}, D, D] with N·D = {width}, or {rows} of these, "
                    f"got {tuple(weight.shape)}"
                )
        if resets is not None and (resets.dtype != torch.bool or tuple(resets.shape) != (rows, length)):
            raise ValueError(f"{name}: resets are bool [{rows}, {length}], got {resets.dtype} {tuple(resets.shape)}")


def _differentiated(x: Tensor, params: Tensors, weight: Tensor | None, state: Tensors) -> bool:
    """Whether autograd may ask for a gradient of this call."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, *params, *state))

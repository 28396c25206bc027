"""`RecurrenceOp`: the one object through which everything else uses a recurrence."""

from __future__ import annotations

import torch
from torch import Tensor

from .._triton import AVAILABLE, INTERPRETED, disabled
from ..warnings import warn_once
from . import autograd
from .cell import Cell, Inputs, compute_dtype
from .check import check
from .reference import reference
from .step import advance
from .tiles import refusal

IMPLS = ("reference", "torch", "triton", "auto")

Tensors = tuple[Tensor, ...]


class RecurrenceOp:
    """A recurrence over sequences and over single steps, differentiable.

    x: [B, T, G, H], G inputs in declared order. Where channels belong to heads (``cell.headed``), x is a tuple of
    [B, T, N, G, D] for the inputs with one number a channel and, as the equations have them, [B, T, N, G, E] for those
    with one a feature and [B, T, N, G] for data; outputs are [B, T, N, D] and a state variable is [B, N, D] or
    [B, N, E, D]. params: [H] each. weight: [N, gates, D, D] (out, in) with H = N·D, or
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
        x: Tensor | Tensors,
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
        x, *rest = (x,) if isinstance(x, Tensor) else x
        beside = tuple(rest)
        state = self._start(x, beside) if state is None else tuple(state)
        inputs = Inputs(x, tuple(params), weight, state, tuple(e.detach() for e in traces), resets, beside)
        check(self.cell, inputs)
        impl = self._choose(x, weight, impl)
        if impl == "reference":
            return reference(self.cell, inputs)
        dtype = compute_dtype(x)
        attached = tuple(s.requires_grad for s in state)
        keep = _differentiated(x, params, weight, state, beside)
        params = tuple(p.to(dtype) for p in inputs.params)
        state = tuple(s.to(dtype) for s in state)
        traces = tuple(e.to(dtype) for e in inputs.traces)
        if torch.compiler.is_compiling():
            flat = self._graph_op(
                x, list(params), weight, list(state), list(traces), resets, list(beside), impl, keep, list(attached)
            )
        else:
            inputs = Inputs(x, params, weight, state, traces, resets, beside)
            flat = autograd.apply(self.cell, inputs, impl, keep, attached)
        o, k = len(self.cell.outputs), len(self.cell.state)
        end = o + k + len(traces)
        return tuple(flat[:o]), tuple(flat[o : o + k]), tuple(e.detach() for e in flat[o + k : end])

    def step(
        self,
        x: Tensor | Tensors,
        params: Tensors = (),
        weight: Tensor | None = None,
        state: Tensors | None = None,
        traces: Tensors = (),
        resets: Tensor | None = None,
        *,
        impl: str = "auto",
    ) -> tuple[Tensors, Tensors, Tensors]:
        """One step: x [B, G, H], resets bool [B]; outputs [B, H] each, new state, new traces."""
        x, *rest = (x,) if isinstance(x, Tensor) else x
        beside = tuple(rest)
        wide, mask = x[:, None], resets[:, None] if resets is not None else None
        other_wide = tuple(t[:, None] for t in beside)
        if weight is not None and weight.dim() == 5 and weight.shape[0] == 1:
            weight = weight[0]
        state = self._start(wide, other_wide) if state is None else tuple(state)
        other = x.is_cuda and impl == "auto"  # a kernel's, or else refused aloud
        other = other or torch.compiler.is_compiling() or _differentiated(x, params, weight, state, beside)
        if not other and self._choose(wide, weight, impl) == "torch":
            check(self.cell, Inputs(wide, tuple(params), weight, state, tuple(traces), mask, other_wide))
            return advance(self.cell, x, params, weight, state, traces, resets, beside)
        whole = (wide, *other_wide) if beside else wide
        outputs, state, traces = self.sequence(whole, params, weight, state, traces, mask, impl=impl)
        return tuple(y[:, 0] for y in outputs), state, traces

    def initial_state(self, rows: int, width: int, like: Tensor) -> Tensors:
        """The state before the first step, [B, H] each, on the device of `like`."""
        dtype = compute_dtype(like)
        return tuple(torch.full((rows, width), v, dtype=dtype, device=like.device) for v in self.cell.initial)

    def _start(self, x: Tensor, beside: Tensors) -> Tensors:
        """The state before the first step of x [B, T, …]."""
        if not self.cell.headed:
            return self.initial_state(x.shape[0], x.shape[-1], x)
        rows, _, heads, _, width = x.shape
        features = beside[0].shape[-1] if "e" in self.cell.input_axes else 1
        shapes = {"d": (rows, heads, width), "ed": (rows, heads, features, width)}
        pairs = zip(self.cell.initial, self.cell.state_axes, strict=True)
        return tuple(torch.full(shapes[a], v, dtype=compute_dtype(x), device=x.device) for v, a in pairs)

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


def _differentiated(x: Tensor, params: Tensors, weight: Tensor | None, state: Tensors, beside: Tensors) -> bool:
    """Whether autograd may ask for a gradient of this call."""
    given = (x, weight, *params, *state, *beside)
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given)

"""The mLSTM over a whole sequence by Triton kernels: three launches forward and three backward.

Kept between the two: the inputs, h, the final state, C before each chunk (in bfloat16 for bfloat16 inputs, which is
what the products read), and four numbers a step and head. No atomics, so equal calls give equal bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._triton import INTERPRETED
from ..ahead import launch
from ..pointwise.region import rows_of
from ..recurrence.tiles import precision
from . import adjoints, backward, forward
from .step import EPS, State
from .tiles import tiles


class _Call:
    """The arguments of one call as kernels read them, and what all launches share."""

    def __init__(self, inputs: Sequence[Tensor], segments: Tensor | None) -> None:
        q, k, v, i, f, c, n, m = inputs
        self.rows, self.steps, self.heads, self.width = q.shape
        (self.q, self.q_row), (self.k, self.k_row), (self.v, self.v_row) = (
            rows_of(x, self.heads * self.width) for x in (q, k, v)
        )
        (self.i, self.i_row), (self.f, self.f_row) = (rows_of(x, self.heads) for x in (i, f))
        self.c, self.n, self.m = (x.contiguous() for x in (c, n, m))
        self.resets = segments is not None
        self.ids = q if segments is None else segments.contiguous()
        # The interpreter multiplies bfloat16 numbers as if they were integers.
        half = all(x.dtype == torch.bfloat16 for x in (q, k, v)) and not INTERPRETED
        self.dtype = torch.bfloat16 if half else torch.float32
        wide = next((x for x in (q, k, v) if x.dtype == torch.float32), None)
        if wide is not None or INTERPRETED or torch.version.hip:
            self.precision = precision(q if wide is None else wide)
        else:
            self.precision = "tf32"  # float16's digits in float32's range, where sums over time cannot overflow
        self.tiles = tiles(self.steps, self.width, half)
        self.chunks = -(-self.steps // self.tiles.length)
        self.own = self.rows * self.heads
        self.shape = {"N": self.heads, "D": self.width, "L": self.tiles.length}
        self.how = {"PRECISION": self.precision, "HAS_RESETS": self.resets}
        self.scale = self.width**-0.5

    def new(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.q.device)

    def blocks(self, block: int) -> int:
        return -(-self.width // block)


def _forward(call: _Call) -> tuple[Tensor, ...]:
    """h and the final state; what the backward wants of the way there."""
    own, steps, chunks, width, tiles = call.own, call.steps, call.chunks, call.width, call.tiles
    gates = call.i_row, call.f_row
    logs, reach, peaks = call.new(own, steps), call.new(own, chunks), call.new(own, chunks)
    parts = 1 << (call.blocks(tiles.length) - 1).bit_length() if call.resets else 0
    flags = (steps, parts, chunks + 1) if call.resets else (0, 0, 0)
    bad, bad_state, taints = (call.new(own, size, dtype=torch.int8) for size in flags)
    launch(forward.gates_kernel, (own, chunks + parts))(
        call.k, call.v, call.i, call.f, call.ids, call.c, call.n, call.m, logs, reach, peaks, bad, bad_state, steps,
        chunks, call.k_row, call.v_row, *gates, **call.shape, PARTS=parts, HAS_RESETS=call.resets, **tiles.gates,
    )  # fmt: skip
    states = call.new(own, chunks, width, width, dtype=call.dtype)
    norms, maxima, keeps = call.new(own, chunks, width), call.new(own, chunks + 1), call.new(own, chunks)
    c, n, m = (call.new(*x.shape) for x in (call.c, call.n, call.m))
    grid = own, call.blocks(tiles.states["BLOCK_K"]), call.blocks(tiles.states["BLOCK_V"])
    launch(forward.states_kernel, grid)(
        call.k, call.v, call.ids, call.c, call.n, call.m, logs, reach, peaks, bad, bad_state, states, norms, maxima,
        taints, keeps, c, n, m, steps, chunks, call.k_row, call.v_row, call.scale, **call.shape, PARTS=parts,
        **call.how, **tiles.states,
    )  # fmt: skip
    h = torch.empty(call.q.shape, dtype=call.q.dtype, device=call.q.device)
    tops, dots, reads = (call.new(own, steps) for _ in range(3))
    launch(forward.outputs_kernel, (own, chunks, call.blocks(tiles.outputs["BLOCK_V"])))(
        call.q, call.k, call.v, call.i, call.f, call.ids, bad, states, norms, maxima, taints, h, tops, dots, reads,
        steps, chunks, call.q_row, call.k_row, call.v_row, *gates, call.scale, **call.shape, EPS=EPS, **call.how,
        **tiles.outputs,
    )  # fmt: skip
    return h, c, n, m, logs, states, norms, maxima, taints, keeps, tops, dots, reads


def _backward(
    call: _Call, found: Sequence[Tensor], kept: Sequence[Tensor], grads: Sequence[Tensor | None], need_state: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of q, k, v, i, f and, if needed, c, n, m. found: h and the final c and n; grads: of h, c, n, m."""
    own, steps, chunks, width, tiles = call.own, call.steps, call.chunks, call.width, call.tiles
    logs, states, norms, maxima, taints, keeps, tops, dots, reads = kept
    h, c, n = found
    d_h = torch.zeros_like(h) if grads[0] is None else grads[0].contiguous()
    final = any(g is not None for g in grads[1:])
    d_c, d_n, d_m = (
        (torch.zeros_like(x) if g is None else g.contiguous()) if final else x
        for g, x in zip(grads[1:], (call.c, call.n, call.m), strict=True)
    )
    gates = call.i_row, call.f_row
    d_q, d_k, d_v, d_i, d_f = (
        torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (call.q, call.k, call.v, call.i, call.f)
    )
    inverse, d_dots, d_tops, d_f_read, d_last = (call.new(own, size) for size in (steps, steps, steps, steps, 1))
    launch(backward.queries_kernel, (own, chunks + final))(
        call.q, call.k, call.v, call.i, call.f, call.ids, h, d_h, states, norms, taints, tops, dots, reads, c, n, d_c,
        d_n, d_m, d_q, inverse, d_dots, d_tops, d_f_read, d_last, steps, chunks, call.q_row, call.k_row, call.v_row,
        *gates, call.scale, **call.shape, EPS=EPS, **call.how, **tiles.queries,
    )  # fmt: skip
    d_states = call.new(own, chunks, width, width, dtype=call.dtype)
    d_norms, d_log_i, d_log_f = call.new(own, chunks, width), call.new(own, steps), call.new(own, steps)
    parts = call.blocks(tiles.adjoints["BLOCK_K"]) * call.blocks(tiles.adjoints["BLOCK_V"]) + 1
    d_m0 = call.new(own, parts)
    d_c0, d_n0 = (call.new(*x.shape) if need_state else d_m0 for x in (call.c, call.n))
    launch(adjoints.adjoints_kernel, (own, parts))(
        call.q, call.i, call.f, call.ids, d_h, call.c, call.n, call.m, d_c, d_n, taints, keeps, tops, reads, inverse,
        d_dots, d_tops, d_last, d_states, d_norms, d_log_i, d_log_f, d_c0, d_n0, d_m0, steps, chunks, call.q_row,
        *gates, **call.shape, **call.how, HAS_FINAL=final, NEED_STATE=need_state, **tiles.adjoints,
    )  # fmt: skip
    launch(backward.keys_kernel, (own, chunks))(
        call.q, call.k, call.v, call.i, call.f, call.ids, d_h, logs, states, norms, maxima, keeps, tops, inverse,
        d_dots, d_f_read, d_states, d_norms, d_log_i, d_log_f, d_k, d_v, d_i, d_f, steps, chunks, call.q_row,
        call.k_row, call.v_row, *gates, call.scale, **call.shape, **call.how, **tiles.keys,
    )  # fmt: skip
    if not need_state:
        return d_q, d_k, d_v, d_i, d_f, None, None, None
    d_m0 = d_m0.sum(1).view(call.m.shape)
    d_state = (g.to(x.dtype) for g, x in zip((d_c0, d_n0, d_m0), (call.c, call.n, call.m), strict=True))
    return d_q, d_k, d_v, d_i, d_f, *d_state


class _Sequence(torch.autograd.Function):
    """Its forward is apart from its context, so that `torch.func.vjp` (in `opaque.py`) can differentiate it."""

    @staticmethod
    def forward(segments: Tensor | None, *inputs: Tensor) -> tuple[Tensor, ...]:
        return _forward(_Call(inputs, segments))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[4:])
        ctx.save_for_backward(*inputs, *output[:3], *output[4:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if all(g is None for g in grads[:4]):
            return (None,) * 9
        need_state = any(ctx.needs_input_grad[6:])
        return None, *_Gradients.apply(need_state, *grads[:4], *ctx.saved_tensors)


class _Gradients(torch.autograd.Function):
    """The backward, as a function of its own: torch.func then calls it with plain tensors too."""

    @staticmethod
    def forward(need_state: bool, *tensors: Any) -> tuple[Tensor | None, ...]:
        grads, segments, inputs, found, kept = tensors[:4], tensors[4], tensors[5:13], tensors[13:16], tensors[16:]
        return _backward(_Call(inputs, segments), found, kept, grads, need_state)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError("mlstm has no second derivative on a GPU: its backward is a kernel")


def mlstm_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    c: Tensor,
    n: Tensor,
    m: Tensor,
    segments: Tensor | None = None,
) -> State:
    """`chunkwise.mlstm` where `runs_fused`. Products in bfloat16 for bfloat16 inputs, in TF32 for float16 ones and
    where torch allows it for float32 ones, else in float32; everything else in float32. Its gradient cannot be
    differentiated again, and says so."""
    h, c, n, m, *_ = _Sequence.apply(segments, q, k, v, i, f, c, n, m)
    return h, c, n, m

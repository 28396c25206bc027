"""Transformer-XL attention as Triton kernels: one launch forward, four backward.

Between the two only outputs and log-sum-exps are kept; the backward computes scores again. Scratch memory is one number
for each of the B N T (M+1) pairs forward, three backward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._triton import INTERPRETED
from ..ahead import launch
from ..recurrence.tiles import padded_width, precision, processors
from .backward import distance_kernel, key_kernel, query_kernel, sum_kernel
from .forward import forward_kernel
from .tiles import LOG2E, Tile, pitch_of, tile_of

SUM_BLOCK = 256


def fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel: Tensor,
    u: Tensor,
    v_bias: Tensor,
    fill: Tensor,
    segments: Tensor | None,
    drop: Tensor | None,
) -> Tensor:
    """`sequence.xl_attention` on a GPU. q, k, v, rel: of one dtype; scores, softmax and sums are float32."""
    if INTERPRETED and q.dtype == torch.bfloat16:  # its products take no bfloat16
        q, k, v, rel = (x.float() for x in (q, k, v, rel))
        return fused_attention(q, k, v, rel, u, v_bias, fill, segments, drop).bfloat16()
    y: Tensor = _Attention.apply(q, k, v, rel, u, v_bias, fill, segments, drop)[0]
    return y


class _Attention(torch.autograd.Function):
    """Its forward is apart from its context, so that `torch.func.vjp` (in `opaque.py`) can differentiate it."""

    @staticmethod
    def forward(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rel: Tensor,
        u: Tensor,
        v_bias: Tensor,
        fill: Tensor,
        segments: Tensor | None,
        drop: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        call = _Call(q, k, v, rel, u, v_bias, fill, segments, drop)
        y = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        lse = torch.empty(call.rows, call.heads, call.steps, dtype=torch.float32, device=q.device)
        tile = tile_of(q, "forward")
        launch(forward_kernel, (call.rows * call.heads * -(-call.steps // tile.queries),))(
            *call.operands, call.pairs(tile), y, lse, call.steps, call.factor, *call.strides,
            **call.sizes, **call.options, **tile.constants(), PITCH=pitch_of(call.slots, tile),
        )  # fmt: skip
        return y, lse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor | None, _: None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if d_y is None:
            return (None,) * 9
        return (*_Gradients.apply(d_y, *ctx.saved_tensors), None, None, None)


class _Gradients(torch.autograd.Function):
    """The backward, as a function of its own: torch.func then calls it with plain tensors too."""

    @staticmethod
    def forward(d_y: Tensor, *saved: Any) -> tuple[Tensor, ...]:
        *inputs, y, lse = saved
        return _backward(_Call(*inputs), y, lse, d_y.contiguous())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError("xl_attention has no second derivative: its backward is a kernel")


class _Call:
    """The arguments of one call as the kernels take them."""

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rel: Tensor,
        u: Tensor,
        v_bias: Tensor,
        fill: Tensor,
        segments: Tensor | None,
        drop: Tensor | None,
    ) -> None:
        self.q, self.k, self.v = q, k, v = _heads_inside(q), _heads_inside(k), _heads_inside(v)
        self.rel, self.u, self.v_bias = rel.contiguous(), u.contiguous(), v_bias.contiguous()
        self.rows, self.steps, self.heads, self.width = q.shape
        self.slots = rel.shape[-3] - 1
        ids = q if segments is None else segments.contiguous()
        dropped = q if drop is None else drop.contiguous()
        self.operands = (q, k, v, self.rel, self.u, self.v_bias, fill.contiguous(), ids, dropped)
        self.scale = self.width**-0.5
        self.factor = self.scale * LOG2E
        each = [s for x in (q, k, v) for s in x.stride()[:2]]
        self.strides = (*each, self.rel.stride(0) if rel.dim() == 4 else 0, 0 if drop is None else dropped.stride(0))
        self.sizes = {
            "N": self.heads,
            "M": self.slots,
            "D": self.width,
            "BLOCK_D": padded_width(self.width),
            "PRECISION": precision(q),
        }
        self.resets = {"HAS_SEGMENTS": segments is not None}
        over_time = drop is not None and drop.dim() == 4
        self.options = {
            **self.resets,
            "HAS_DROP": drop is not None,
            "DROP_T": dropped.stride(1) if over_time else 0,
        }

    def pairs(self, tile: Tile) -> Tensor:
        """One number for each pair: [B, N, blocks of queries, BLOCK_Q, PITCH]."""
        sizes = -(-self.steps // tile.queries), tile.queries, pitch_of(self.slots, tile)
        return torch.empty(self.rows, self.heads, *sizes, dtype=self.q.dtype, device=self.q.device)


def _heads_inside(x: Tensor) -> Tensor:
    """x [B, S, N, D] itself if its last two axes lie together, as those of a projection do; else a copy."""
    return x if x.stride(-1) == 1 and x.stride(-2) == x.shape[-1] else x.contiguous()


def _backward(call: _Call, y: Tensor, lse: Tensor, d_y: Tensor) -> tuple[Tensor, ...]:
    """Gradients of q, k, v, rel, u and v_bias."""
    q, device = call.q, call.q.device
    rows, heads, width, slots = call.rows, call.heads, call.width, call.slots
    tile = tile_of(q, "queries")
    blocks = rows * -(-call.steps // tile.queries)
    d_q = torch.empty(q.shape, dtype=q.dtype, device=device)
    d_bias = torch.empty(blocks, 2, heads, width, dtype=torch.float32, device=device)
    weights, d_scores = call.pairs(tile), call.pairs(tile)
    pitch = pitch_of(slots, tile)
    launch(query_kernel, (blocks * heads,))(
        *call.operands, y, lse, d_y, call.pairs(tile), weights, d_scores, d_q, d_bias,
        call.steps, call.factor, call.scale, *call.strides,
        **call.sizes, **call.options, **tile.constants(), PITCH=pitch,
    )  # fmt: skip

    d_k = torch.empty(call.k.shape, dtype=q.dtype, device=device)
    d_v = torch.empty(call.v.shape, dtype=q.dtype, device=device)
    keys = tile_of(q, "keys")
    launch(key_kernel, (rows * heads * -(-(slots + call.steps) // keys.keys),))(
        q, call.u, d_y, weights, d_scores, d_k, d_v, call.steps, call.factor, *call.strides[:2],
        **call.sizes, **call.resets, **keys.constants(), ROWS=tile.queries, PITCH=pitch,
    )  # fmt: skip

    far = tile_of(q, "distances")
    own = call.rel.dim() == 4  # every row has its own distances: a part is a row
    tiles = -(-(slots + 1) // far.keys)
    parts = rows if own else min(blocks, max(1, 2 * processors(device) // (tiles * heads)))
    share = -(-blocks // parts)
    parts = -(-blocks // share)
    found = torch.empty(parts, slots + 3, heads, width, dtype=torch.float32, device=device)
    launch(distance_kernel, (tiles, heads, parts))(
        q, call.v_bias, d_scores, d_bias, found, call.steps, call.factor, *call.strides[:2], blocks, share,
        **call.sizes, **call.resets, **(far.constants() | {"BLOCK_Q": tile.queries}), PITCH=pitch,
    )  # fmt: skip
    total = found.new_empty(found.shape[1:])
    size = total.numel()
    launch(sum_kernel, (-(-size // SUM_BLOCK),))(found, total, parts, size, BLOCK=SUM_BLOCK)
    d_rel = found[:, : slots + 1] if own else total[: slots + 1]
    d_u, d_v_bias = total[slots + 1], total[slots + 2]
    return d_q, d_k, d_v, d_rel.to(call.rel.dtype), d_u.to(call.u.dtype), d_v_bias.to(call.v_bias.dtype)

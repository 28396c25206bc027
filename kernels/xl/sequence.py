"""Transformer-XL attention over a whole sequence, in blocks: memory O(T (M + block)), no loop over time.

Notation: B rows, T steps, N heads, D head width, M memory slots, G blocks of W queries. The queries of a block see a
window of M + W keys: the M before the block, and the block. Query w of the block stands at distance d = M + w - c from
key c of the window. Scores of distances come from one matrix product with the M + 1 rows of `rel`; a skew (pad each row
and read it with rows one shorter) moves them to their keys, and fills what is outside of 0 <= d <= M with -inf.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..fence import Fence
from ..opaque import opaque
from ..pointwise.region import loops_on_triton
from ..precision import accumulate_dtype
from ..segments import finite_rows, segment_starts, tainted
from .fused import fused_attention
from .memory import by_distance
from .tiles import WIDEST

MIN_BLOCK = 64  # smaller blocks would waste matrix products when the memory is short
HIDDEN = -1  # the segment of a slot which is not real


def _shape_only(q: Tensor, *operands: object) -> Tensor:
    return torch.empty(q.shape, dtype=q.dtype, device=q.device)


# The number of blocks follows from T: traced, every T would be another graph.
@opaque("xl_attention", _shape_only)
def xl_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel: Tensor,
    u: Tensor,
    v_bias: Tensor,
    fill: Tensor,
    segments: Tensor | None = None,
    drop: Tensor | None = None,
) -> Tensor:
    """softmax(((q + u) k^T + (q + v_bias) rel^T) / sqrt(D)) v over the window of each query.

    q: [B, T, N, D]; k, v: [B, M+T, N, D], the projections of [memory, inputs]; rel: [M+1, N, D], the projection of
    R(d), row d for distance d (or [B, M+1, N, D], where each row has its own); u, v_bias: [N, D]; fill: int64 [B], how
    many memory slots are real; segments: int64 [B, T] or None; drop: what dropout multiplies the weights by,
    [B, T, N, M+1] or [B, N, M+1] for all steps, the farthest distance first, or None. Returns [B, T, N, D] in q's
    dtype.
    """
    slots, steps, dtype = rel.shape[-3] - 1, q.shape[1], q.dtype
    k, v, rel = (x.to(dtype) for x in (k, v, rel))
    if loops_on_triton(q) and q.shape[-1] <= WIDEST:
        return fused_attention(q, k, v, rel, u, v_bias, fill, segments, drop)
    u, v_bias = u.to(dtype), v_bias.to(dtype)
    bad = fence = None
    if segments is not None:
        fence = Fence(segments)
        q, k, v = fence.inputs(q, k, v)
        q, bad_q = finite_rows(q)
        k, bad_k = finite_rows(k)
        v, bad_v = finite_rows(v)
        bad = tainted(bad_k | bad_v, _first_seen(segments, fill, slots))[:, slots:] | bad_q
    blocks = max(1, steps // max(slots, MIN_BLOCK))
    width = (steps + blocks - 1) // blocks  # equal blocks, at least M wide if there are two or more
    pad = blocks * width - steps
    ids = _key_segments(fill, segments, slots, steps, pad)  # [B, M+GW] or None
    if pad:
        q, k, v = (F.pad(x, (0, 0, 0, 0, 0, pad)) for x in (q, k, v))

    scale = q.shape[-1] ** -0.5
    heads = q.permute(2, 0, 1, 3)  # [N, B, GW, D]
    content = ((heads + u[:, None, None]) * scale).unflatten(2, (blocks, width))
    position = by_distance((heads + v_bias[:, None, None]) * scale, rel)  # [N, B, GW, M+1]
    position = _skew(position.unflatten(2, (blocks, width)))  # [N, B, G, W, M+W]
    keys, values = (_windows(x.permute(2, 0, 1, 3), 2, slots, blocks, width) for x in (k, v))
    scores = content @ keys.transpose(-1, -2) + position
    if ids is not None:
        window = _windows(ids, 1, slots, blocks, width)[..., None, :]
        own = 0 if segments is None else ids[:, slots:].unflatten(1, (blocks, width))[..., None]
        scores = scores.masked_fill(window != own, float("-inf"))
    weights = torch.softmax(scores, -1, dtype=accumulate_dtype(scores))
    if drop is not None:
        weights = weights * _by_key(drop, blocks, width, pad)
    weights = weights.to(dtype)
    y = (weights @ values).flatten(2, 3)[:, :, :steps].permute(1, 2, 0, 3).to(dtype)
    if bad is None or fence is None:
        return y
    return fence.outputs(y.masked_fill(bad[..., None], float("nan")))


def _windows(x: Tensor, dim: int, slots: int, blocks: int, width: int) -> Tensor:
    """[..., M+GW, ...] -> [..., G, M+W, ...]: block g sees x[gW : gW+M+W]. No gather, as W >= M where G > 1."""
    if blocks == 1:
        return x.unsqueeze(dim)
    before = x.narrow(dim, 0, blocks * width).unflatten(dim, (blocks, width)).narrow(dim + 1, 0, slots)
    return torch.cat([before, x.narrow(dim, slots, blocks * width).unflatten(dim, (blocks, width))], dim + 1)


def _by_key(drop: Tensor, blocks: int, width: int, pad: int) -> Tensor:
    """[B, T, N, M+1] or [B, N, M+1], by distance -> [N, B, G, W, M+W] by key, zero outside of the window."""
    each = (drop.unsqueeze(1) if drop.dim() == 3 else drop).permute(2, 0, 1, 3)
    steps = blocks * width - pad
    each = F.pad(each.expand(-1, -1, steps, -1), (0, 0, 0, pad))
    return _skew(each.unflatten(2, (blocks, width)), 0.0)


def _skew(position: Tensor, outside: float = float("-inf")) -> Tensor:
    """[..., W, M+1] -> [..., W, M+W]: entry e of row w moves to column w + e; the rest is ``outside``."""
    width, distances = position.shape[-2:]
    columns = distances - 1 + width
    padded = F.pad(position, (0, width), value=outside).flatten(-2)  # rows of columns + 1
    return padded[..., : width * columns].unflatten(-1, (width, columns))


def _key_segments(fill: Tensor, segments: Tensor | None, slots: int, steps: int, pad: int) -> Tensor | None:
    """The segment of every key [B, M+T+pad]: 0 or HIDDEN in the memory. None where there is nothing to hide."""
    if segments is None:
        if slots == 0:
            return None
        segments = fill.new_zeros(1, 1).expand(fill.shape[0], steps)
    memory = torch.where(torch.arange(slots, device=fill.device) >= slots - fill[:, None], 0, HIDDEN)
    return torch.cat([memory, segments, segments[:, -1:].expand(-1, pad)], 1)


def _first_seen(segments: Tensor, fill: Tensor, slots: int) -> Tensor:
    """The first key of [memory, inputs] that each query sees, int64 [B, M+T]; memory rows ask for themselves."""
    steps = torch.arange(segments.shape[1], device=segments.device)
    episode = torch.where(segments == 0, (slots - fill)[:, None], slots + segment_starts(segments))
    memory = torch.arange(slots, device=segments.device).expand(segments.shape[0], -1)
    return torch.cat([memory, torch.maximum(episode, steps)], 1)

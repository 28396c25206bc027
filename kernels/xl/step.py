"""One step of Transformer-XL attention: with keys and values at hand, or over the raw memory.

Notation: B rows, N heads, D head width, H width of the inputs, M memory slots; key M of [memory, input] is the query's
own, at distance 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..overwrite import may_overwrite
from ..pointwise.region import loops_on_triton
from ..precision import accumulate_dtype, cast
from ..segments import reset_state
from .memory import xl_memory
from .one_query import one_query, takes
from .sequence import xl_attention


def xl_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel: Tensor,
    u: Tensor,
    v_bias: Tensor,
    fill: Tensor,
    resets: Tensor | None = None,
    drop: Tensor | None = None,
) -> Tensor:
    """`xl_attention` for one query. q: [B, N, D]; k, v: [B, M+1, N, D]; resets: bool [B] or None; drop: [B, N, M+1] or
    None -> [B, N, D]."""
    segments = None if resets is None else resets.to(torch.int64)[:, None]
    return xl_attention(q[:, None], k, v, rel, u, v_bias, fill, segments, drop)[:, 0]


def xl_step(
    x: Tensor,
    q: Tensor,
    mem: Tensor,
    fill: Tensor,
    wk: Tensor,
    bk: Tensor | None,
    wv: Tensor,
    bv: Tensor | None,
    wr: Tensor,
    positions: Tensor,
    u: Tensor,
    v_bias: Tensor,
    resets: Tensor | None = None,
    drop: Tensor | None = None,
) -> Tensor:
    """One query over the raw inputs in memory, which are never projected:

        (q + u) . (W_k m_j + b_k) = (W_k^T (q + u)) . m_j + (q + u) . b_k
        sum_j a_j (W_v m_j + b_v) = W_v (sum_j a_j m_j) + b_v

    x: [B, H], the input of this step; q: [B, N, D]; mem: [B, M, H]; fill: int64 [B]; wk, wv, wr: [N*D, H]; bk, bv:
    [N*D] or None; positions: [M+1, H], R(d) of every distance d; u, v_bias: [N, D]; resets: bool [B] or None; drop:
    what dropout multiplies the weights a by, [B, N, M+1], or None. wk, wv and wr have one more axis in front where each
    row has its own (1: all alike). Returns [B, N, D]: 2BNH(M + D) multiply-adds in place of the 2BMH ND of projecting M
    rows.
    """
    if drop is None and _runs_fused(q, mem, x, wk, bk, wv, bv, wr, u, v_bias):
        return _fused_step(x, q, mem, fill, wk, wv, bv, wr, positions, u, v_bias, resets)
    dtype, (heads, width), slots = q.dtype, q.shape[1:], mem.shape[1]
    positions, u, v_bias, wk, wv, wr = (cast(t, dtype) for t in (positions, u, v_bias, wk, wv, wr))
    wk, wv = wk.unflatten(-2, (heads, width)), wv.unflatten(-2, (heads, width))
    if resets is not None:
        mem, fill = reset_state(mem, resets), torch.where(resets, 0, fill)
    mem, own = cast(mem, dtype), cast(x[:, None], dtype)  # joined they would be a copy of the memory
    content, position = q + u, q + v_bias
    probe = _by_head(content, wk)  # [B, N, H]
    scores = torch.cat([torch.bmm(probe, mem.transpose(1, 2)), torch.bmm(probe, own.transpose(1, 2))], -1)
    scores = scores.add_(_by_distance(position, wr, positions))  # [B, N, M+1]
    if bk is not None and torch.is_grad_enabled():
        # The same for every key, so softmax drops it: kept where its gradient, a zero, may be asked for.
        scores = scores + (content * bk.to(dtype).view(heads, width)).sum(-1, keepdim=True)
    scores = scores.mul_(width**-0.5)
    if slots:
        distance = torch.arange(slots, -1, -1, device=x.device)
        scores = scores.masked_fill_((distance > fill[:, None])[:, None], float("-inf"))
    weights = torch.softmax(scores, -1, dtype=accumulate_dtype(scores))
    if drop is not None:
        weights = weights * drop
    weights = cast(weights, dtype)
    seen = torch.baddbmm(weights[..., -1:] * own, weights[..., :-1], mem)
    y = _by_head(seen, wv.transpose(-1, -2))
    if bv is not None:
        # The weights sum to 1, unless some were dropped.
        bv = cast(bv, dtype).view(heads, width)
        y = y + (bv if drop is None else bv * weights.sum(-1, keepdim=True))
    return cast(y, dtype)


def _by_distance(query: Tensor, wr: Tensor, positions: Tensor) -> Tensor:
    """query . (W_r R(d)) of every distance, the farthest first. query: [B, N, D]; wr: [N*D, H], or one for each row;
    positions: [M+1, H] -> [B, N, M+1].

    For a few rows, or rows with maps of their own, W_r moves to the side of the query; many rows share the projected
    positions, whichever is less to multiply."""
    (rows, heads, width), (distances, inputs) = query.shape, positions.shape
    shared = distances * inputs * width
    if wr.dim() == 2 and rows * (inputs * (distances + width) - distances * width) > shared:
        return _by_head(query, _projected(positions, wr, heads).permute(1, 2, 0)).flip(-1)
    probe = _by_head(query, wr.unflatten(-2, (heads, width)))
    return torch.mm(probe.flatten(0, 1), positions.T).view(rows, heads, distances).flip(-1)


def _projected(positions: Tensor, wr: Tensor, heads: int) -> Tensor:
    """W_r R(d): [M+1, N, D], or with a map for each row [B, M+1, N, D]."""
    return (positions @ wr.transpose(-1, -2)).unflatten(-1, (heads, -1))


def _runs_fused(q: Tensor, mem: Tensor, *rest: Tensor | None) -> bool:
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (q, mem, *rest)):
        return False
    return not torch.compiler.is_compiling() and loops_on_triton(q) and takes(q, mem)


def _fused_step(
    x: Tensor,
    q: Tensor,
    mem: Tensor,
    fill: Tensor,
    wk: Tensor,
    wv: Tensor,
    bv: Tensor | None,
    wr: Tensor,
    positions: Tensor,
    u: Tensor,
    v_bias: Tensor,
    resets: Tensor | None,
) -> Tensor:
    """`xl_step` without dropout on a GPU: a kernel between products. b_k, the same for every key, is left out."""
    dtype, sizes = q.dtype, q.shape[1:]
    wk, wv, wr = cast(wk, dtype).unflatten(-2, sizes), cast(wv, dtype).unflatten(-2, sizes), cast(wr, dtype)
    if wr.dim() == 3 and wr.shape[0] == 1:
        wr = wr[0]
    probe = _by_head(cast(q + u, dtype), wk)
    seen = one_query(probe, q, v_bias, _projected(cast(positions, dtype), wr, sizes[0]), x, mem, fill, resets)
    y = _by_head(seen, wv.transpose(-1, -2))
    return y if bv is None else y + cast(bv, dtype).view(sizes)


def _by_head(x: Tensor, maps: Tensor) -> Tensor:
    """x [B, N, I] by maps [N, I, O], or by maps [B, N, I, O] (1 for B: all rows alike) -> [B, N, O]."""
    if maps.dim() == 3:
        return torch.bmm(x.transpose(0, 1), maps).transpose(0, 1)
    return (x.unsqueeze(-2) @ maps).squeeze(-2)


def xl_memory_step(x: Tensor, mem: Tensor, fill: Tensor, resets: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`xl_memory` for one input. x: [B, H]; resets: bool [B] or None -> mem' [B, M, H], fill' int64 [B]."""
    if mem.shape[1] and may_overwrite(mem):
        if resets is not None:
            mem.masked_fill_(resets[:, None, None], 0)
            fill = torch.where(resets, 0, fill)
        after = moved_on(mem)
        after[:, -1].copy_(x)
        return after, (fill + 1).clamp(max=mem.shape[1])
    return xl_memory(x[:, None], mem, fill, None if resets is None else resets.to(torch.int64)[:, None])


def moved_on(mem: Tensor) -> Tensor:
    """The memory [B, M, H] one slot further along the buffer it is a window of; the last slot is still to be written.

    Nothing else moves. At the end of its buffer, once in M steps, the memory goes to the start of a new one."""
    rows, slots, width = mem.shape
    start, length = mem.storage_offset() // width, mem.stride(0) // width
    whole = mem.untyped_storage().nbytes() == rows * length * width * mem.element_size() and mem.stride(1) == width
    if not whole or start + slots == length:
        start, length = 0, 2 * slots
        buffer = mem.new_empty(rows, length, width)
        buffer[:, :slots].copy_(mem)
    else:
        buffer = mem.as_strided((rows, length, width), (length * width, width, 1), 0)
    return buffer[:, start + 1 : start + 1 + slots]

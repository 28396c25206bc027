"""mLSTM over a whole sequence: chunks in parallel, their states by one small matrix product.

Chunkwise form after TFLA, arXiv 2503.14376. Notation: B rows, T steps, N heads, D head width, G chunks of L steps.
`s_a` is the sum of log f from the start of the chunk, or of the episode if that is later, through step a. A step b of
the same episode and chunk reaches a with log weight `log_f(b+1) + ... + log_f(a) + i_b`; what was carried into the
chunk reaches a with `s_a + m`, where m is 0 (and nothing was carried) when the episode began inside the chunk.

The states at the ends of the chunks obey the same recurrence with chunks for steps, so the same matrix of log weights
serves both levels, and there is no loop over time. Sums of log f run within one episode only and are never differences
of sums, so neither a reset nor a closed gate (-inf) nor a NaN of another episode can enter them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..fence import Fence
from ..opaque import opaque
from ..precision import accumulate_dtype, full_precision
from ..segments import finite_rows, segment_starts, tainted
from .fused import mlstm_fused
from .step import EPS, State
from .tiles import runs_fused

CHUNKS_AT_ONCE = 64  # beyond this the G x G matrix over chunk states would cost more than the chunks themselves
NEVER = -1e30  # stands for the log weight of "nothing", where -inf would make -inf - (-inf)


def _fake(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    c: Tensor,
    n: Tensor,
    m: Tensor,
    segments: Tensor | None = None,
    chunk_size: int = 64,
) -> State:
    dtype = accumulate_dtype(q, k, v)
    c, n, m = (s.new_empty(s.shape, dtype=dtype) for s in (c, n, m))
    return q.new_empty(q.shape), c, n, m


@opaque("mlstm", _fake)
def mlstm(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    c: Tensor,
    n: Tensor,
    m: Tensor,
    segments: Tensor | None = None,
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """h_1 .. h_T and the final state; the equations stand in `step.mlstm_step`.

    q, k, v: [B, T, N, D]; i, f: [B, T, N], gate pre-activations; c: [B, N, D, D]; n: [B, N, D, 1]; m: [B, N, 1, 1];
    segments: int64 [B, T] or None. `chunk_size` is a hint: it never changes the result. Returns h [B, T, N, D] in q's
    dtype, and c, n, m in float32 (float64 for float64 inputs). One node under torch.compile: inlined, Inductor takes
    half a minute over it, and longer for every further span. On a GPU Triton kernels run, but for float64.
    """
    if runs_fused(q, k, v):
        return mlstm_fused(q, k, v, i, f, c, n, m, segments)
    span = CHUNKS_AT_ONCE * chunk_size
    steps = q.shape[1]
    if steps <= span:
        return _span(q, k, v, i, f, c, n, m, segments, chunk_size)
    outputs = []
    before: Tensor | int = 0
    for start in range(0, steps, span):
        part = slice(start, start + span)
        ids = None
        if segments is not None:
            ids, before = segments[:, part] - before, segments[:, part][:, -1:]
        h, c, n, m = _span(q[:, part], k[:, part], v[:, part], i[:, part], f[:, part], c, n, m, ids, chunk_size)
        outputs.append(h)
    return torch.cat(outputs, 1), c, n, m


def _span(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    c: Tensor,
    n: Tensor,
    m: Tensor,
    segments: Tensor | None,
    chunk_size: int,
) -> State:
    """`mlstm` for at most CHUNKS_AT_ONCE chunks."""
    dtype, steps, width = accumulate_dtype(q, k, v), q.shape[1], q.shape[-1]
    chunks = (steps + chunk_size - 1) // chunk_size
    length = (steps + chunks - 1) // chunks  # equal chunks: at most G - 1 padded steps
    bad = fence = None
    if segments is not None:
        fence = Fence(segments)
        q, k, v, i, f = fence.inputs(q, k, v, i, f)
        c, n, m = fence.state(c, n, m)
        (q, k, v, i, f, c, n, m), bad = _sanitise(q, k, v, i, f, c, n, m, segments)
    with full_precision(q):
        pad = chunks * length - steps
        query = _chunked(q.to(dtype), pad, chunks)
        key = _chunked(k.to(dtype) * width**-0.5, pad, chunks)
        # A column of ones beside v: whatever sums k v^T then sums k too, so c and n are one matrix.
        value = _chunked(F.pad(v.to(dtype), (0, 1), value=1.0), pad, chunks)
        log_i = _chunked(i.to(dtype), pad, chunks, fill=float("-inf"))  # padded steps write nothing
        log_f = _chunked(F.logsigmoid(f.to(dtype)), pad, chunks)  # and forget nothing
        state = torch.cat([c.to(dtype), n.to(dtype)], -1)
        ids = _ids(segments, pad, chunks)
        h, state, m = _chunks(query, key, value, log_i, log_f, state, m.to(dtype)[..., 0, 0], ids)
        h = h.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :steps].to(q.dtype)
        c, n = state.split([width, 1], -1)
        m = m[..., None, None]
    if bad is not None and fence is not None:
        h = h.masked_fill(bad[0][..., None], float("nan"))
        c, n, m = (s.masked_fill(bad[1], float("nan")) for s in (c, n, m))
        h = fence.outputs(h)
        c, n, m = fence.finals(c, n, m)
    return h, c, n, m


def _chunks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    log_i: Tensor,
    log_f: Tensor,
    state: Tensor,
    m: Tensor,
    ids: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """query, key: [B, N, G, L, D]; value: [B, N, G, L, D+1]; log_i, log_f: [B, N, G, L]; state: [B, N, D, D+1]; m:
    [B, N]; ids: [B, 1, G, L] or None. Returns h [B, N, G, L, D], the final state and m."""
    between, pairs = _log_weights(log_f, log_i, ids)  # [B, N, G, L, L], from step b (last axis) to step a
    reach = _reach(log_f, between, ids)  # [B, N, G, L], s_a
    peak = pairs.amax(-1)

    # The chunks as steps: what each adds to the state, stabilised by its own `local`; position 0 is the carried state.
    local = peak[..., -1].clamp_min(NEVER)
    ends = carried = None
    if ids is not None:
        ends = F.pad(ids[..., -1], (1, 0))  # [B, 1, G+1]; the carried state belongs to segment 0
        carried = ids == ends[..., :-1, None]  # [B, 1, G, L]: whether the episode of a step began before its chunk
        local = torch.where(carried[..., -1], local, torch.maximum(local, reach[..., -1]))
    gains = torch.exp(pairs[..., -1, :] - local[..., None])
    added = (key * gains[..., None]).transpose(-1, -2) @ value  # [B, N, G, D, D+1]
    sources = torch.cat([state[:, :, None], added], 2)
    weights = torch.cat([m[..., None], local], -1)
    _, logs = _log_weights(F.pad(reach[..., -1], (1, 0)), weights, ends)  # [B, N, G+1, G+1]
    ms = logs.amax(-1)
    states = (torch.exp(logs - ms[..., None]) @ sources.flatten(-2)).view_as(sources)  # after chunk g-1

    # Every step: from its own chunk by attention, from the state before the chunk by one product.
    incoming = ms[..., :-1, None]
    incoming = incoming if carried is None else torch.where(carried, incoming, 0)
    top = torch.maximum(reach + incoming, peak)  # m_a
    keep = torch.exp(reach + incoming - top)
    keep = keep if carried is None else torch.where(carried, keep, 0)
    scores = (query @ key.transpose(-1, -2)) * torch.exp(pairs - top[..., None])
    sums = scores @ value + (query * keep[..., None]) @ states[:, :, :-1]
    numerator, denominator = sums.split([query.shape[-1], 1], -1)
    h = numerator / (torch.maximum(denominator.abs(), torch.exp(-top)[..., None]) + EPS)
    return h, states[:, :, -1], ms[..., -1]


def _log_weights(log_f: Tensor, log_i: Tensor, ids: Tensor | None) -> tuple[Tensor, Tensor]:
    """[..., L] -> twice [..., L, L]: log_f(b+1) + .. + log_f(a), of use for b <= a of one segment only; and that plus
    log_i(b), -inf elsewhere."""
    length = log_f.shape[-1]
    seen = torch.ones(length, length, dtype=torch.bool, device=log_f.device).tril()
    if ids is not None:
        seen = seen & (ids[..., :, None] == ids[..., None, :])
    between = torch.where(seen.tril(-1), log_f[..., :, None], 0).cumsum(-2)
    return between, torch.where(seen, between + log_i[..., None, :], float("-inf"))


def _reach(log_f: Tensor, between: Tensor, ids: Tensor | None) -> Tensor:
    """[..., L]: log_f summed from the first step of a's segment in the chunk, through a."""
    if ids is None:
        return log_f.cumsum(-1)
    first = (ids[..., :, None] == ids[..., None, :]).to(torch.uint8).argmax(-1).expand_as(log_f)
    # gathered from a row of a's own: a gradient that several steps add to at once would change from run to run
    return (between + log_f[..., None, :]).gather(-1, first[..., None])[..., 0]


def _chunked(x: Tensor, pad: int, chunks: int, fill: float = 0.0) -> Tensor:
    """[B, T, N, ...] -> [B, N, G, L, ...], padded at the end of T."""
    if pad:
        x = F.pad(x, (*[0] * (2 * (x.dim() - 2)), 0, pad), value=fill)
    return x.unflatten(1, (chunks, -1)).movedim(3, 1).contiguous()


def _ids(segments: Tensor | None, pad: int, chunks: int) -> Tensor | None:
    """[B, T] -> [B, 1, G, L]; padded steps belong to the last segment."""
    if segments is None:
        return None
    if pad:
        segments = torch.cat([segments, segments[:, -1:].expand(-1, pad)], 1)
    return segments.unflatten(1, (chunks, -1))[:, None]


def _sanitise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    c: Tensor,
    n: Tensor,
    m: Tensor,
    segments: Tensor,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
    """The inputs without NaN and inf; which h [B, T, N] and which final states [B, N, 1, 1] must be NaN instead."""
    q, bad_q = finite_rows(q)
    k, bad_k = finite_rows(k)
    v, bad_v = finite_rows(v)
    bad_i, bad_f = i.isnan() | i.isposinf(), f.isnan()  # a gate of -inf is closed, not broken
    i, f = torch.where(bad_i, 0, i), torch.where(bad_f, 0, f)
    c, bad_c = finite_rows(c.flatten(2))
    n, bad_n = finite_rows(n.flatten(2))
    m, bad_m = finite_rows(m.flatten(2))
    bad_state = bad_c | bad_n | bad_m
    written = tainted(bad_k | bad_v | bad_i | bad_f, segment_starts(segments))
    written = written | (bad_state[:, None] & (segments == 0)[..., None])
    state = (c.unflatten(2, (v.shape[-1], -1)), n[..., None], m[..., None])
    return (q, k, v, i, f, *state), (written | bad_q, written[:, -1, :, None, None])

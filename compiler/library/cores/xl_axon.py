"""X^: Transformer-XL attention whose q, k and v are AxonLayers, maps with a memory of their own."""

from __future__ import annotations

from ....cortex_dsl import XLCoreConfig
from ..builder import Builder, Ref
from ..dropout import drop_factors
from .axon_layer import axon_layer


def axon_attention(b: Builder, cfg: XLCoreConfig, x: Ref, wr: Ref, positions: Ref, u: Ref, v_bias: Ref) -> Ref:
    """Attention over the last ``mem_len`` keys and values and the current one, ``[.., N, D]``.

    A key depends on the whole episode before it, so it is computed once, when its token arrives, and kept: the state
    holds ``mem_k`` and ``mem_v [B, mem_len, N·D]`` in place of inputs (the newest last, zeros where nothing came yet),
    ``mem_fill [B]``, and the three layers' own under ``xl_qkv/q``, ``/k`` and ``/v``."""
    heads, width = int(u.type.shape[0]), u.width
    rel = distances(b, wr, positions, u)
    inner = heads * width
    slots = [b.state(f"mem_{name}", (cfg.mem_len, inner), dtype="f") for name in "kv"]
    fill = b.state("mem_fill", (), dtype="i64")
    q, k, v = (axon_layer(b, f"{name}_proj", x, inner, group="xl_qkv", state=name) for name in "qkv")
    seen = []
    for slot, new in zip(slots, (k, v), strict=True):
        rows = b.op("unsqueeze", new) if b.step else new
        after, fill_after = b.temporal("xl_memory", new, slot, fill, hints=(slot.name.rpartition(".")[2], "fill"))
        context = b.op("xl_context", rows, slot, None if b.step else b.mask())
        b.carry(slot, after)
        seen.append(b.op("unflatten", context, sizes=(heads, width)))
    b.carry(fill, fill_after)
    query = b.op("unflatten", q, sizes=(heads, width), hint="q")
    return attend(b, cfg, "xl_attention", query, *seen, rel, u, v_bias, fill)


def distances(b: Builder, wr: Ref, positions: Ref, u: Ref) -> Ref:
    """W_r R(d) of every distance d, ``[M+1, N, D]``; with adapters one for each row."""
    return b.op("unflatten", b.map(positions, wr), sizes=tuple(u.type.shape), hint="rel")


def attend(b: Builder, cfg: XLCoreConfig, op: str, *operands: Ref | None) -> Ref:
    """The attention itself, ``[.., N, D]``. Weights are dropped by head and distance."""
    like = operands[0]
    assert like is not None
    factors = drop_factors(b, like, (cfg.n_heads, cfg.mem_len + 1), cfg.attn_dropout, "attention")
    (out,) = b.ops(op, *operands, b.mask(), *([factors] if factors else []), mode=b.mode, hints=("attended",))
    return out

"""Transformer-XL attention with one window for step, chunk and sequence, arXiv 1901.02860 §3.3."""

from __future__ import annotations

from ....cortex_dsl import XLCoreConfig
from ..builder import Builder, Ref
from ..dropout import drop
from ..registry import part
from .xl_axon import attend, axon_attention, distances


@part(XLCoreConfig)
def xl(b: Builder, cfg: XLCoreConfig, x: Ref) -> Ref:
    """score = ((q + u)·k_j + (q + v)·W_r R(p - j)) / √D over the last ``mem_len`` positions and the current one.

    ``attn_dropout`` drops weights by head and distance, ``out_dropout`` channels of the output."""
    heads = cfg.n_heads
    width = cfg.head_dim or x.width // heads
    inner = heads * width
    fan = float(6 / (x.width + inner)) ** 0.5
    wr = b.param("r_proj.weight", (inner, x.width), "uniform", -fan, fan)
    u = b.param("u", (heads, width), "constant", 0)
    v_bias = b.param("v", (heads, width), "constant", 0)
    positions = b.op("relative_positions", x, mem_len=cfg.mem_len, width=x.width)
    out = (axon_attention if cfg.use_axon_qkv else _attention)(b, cfg, x, wr, positions, u, v_bias)
    y = b.linear(
        "o_proj",
        b.op("flatten", out, join=2),
        x.width,
        bias=cfg.use_bias,
        rule="uniform",
        args=(-fan, fan),
        bias_rule="constant",
        bias_args=(0,),
    )
    return drop(b, y, cfg.out_dropout, "output")


def _attention(b: Builder, cfg: XLCoreConfig, x: Ref, wr: Ref, positions: Ref, u: Ref, v_bias: Ref) -> Ref:
    """Attention over the last inputs, which the state holds: ``mem [B, mem_len, H]`` and ``mem_fill [B]``."""
    heads, width = int(u.type.shape[0]), u.width
    inner = heads * width
    mem = b.state("mem", (cfg.mem_len, x.width), dtype="f")
    fill = b.state("mem_fill", (), dtype="i64")
    fan = float(6 / (x.width + inner)) ** 0.5

    def projection(name: str) -> tuple[Ref, Ref | None]:
        weight = b.param(f"{name}.weight", (inner, x.width), "uniform", -fan, fan)
        return weight, b.param(f"{name}.bias", (inner,), "constant", 0) if cfg.use_bias else None

    wq, wk, wv = projection("q_proj"), projection("k_proj"), projection("v_proj")

    def heads_of(source: Ref, pair: tuple[Ref, Ref | None], hint: str) -> Ref:
        return b.op("unflatten", b.map(source, *pair), sizes=(heads, width), hint=hint)

    q = heads_of(x, wq, "q")
    if b.step:
        # Neither the M remembered rows nor the distances are projected: W_k, W_v and W_r are moved to the query's side.
        own = (b.matrix(wk[0], dropped=True), wk[1], b.matrix(wv[0], dropped=True), wv[1], b.matrix(wr))
        out = attend(b, cfg, "xl", x, q, mem, fill, *own, positions, u, v_bias)
    else:
        context = b.op("xl_context", x, mem, b.mask())
        k, v = heads_of(context, wk, "k"), heads_of(context, wv, "v")
        out = attend(b, cfg, "xl_attention", q, k, v, distances(b, wr, positions, u), u, v_bias, fill)
    mem_after, fill_after = b.temporal("xl_memory", x, mem, fill, hints=("mem", "fill"))
    b.carry(mem, mem_after)
    b.carry(fill, fill_after)
    return out

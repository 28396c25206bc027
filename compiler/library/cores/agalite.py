"""AGaLiTe: gated linear attention over outer products, with an oscillating memory of rank r. arXiv 2310.15719."""

from __future__ import annotations

from ....cortex_dsl import AGaLiTeCoreConfig
from ...recurrence import cost
from ..builder import Builder, Ref
from ..recurrences import agalite as equations
from ..registry import part

GAIN = 2**0.5


@part(AGaLiTeCoreConfig)
def agalite(b: Builder, cfg: AGaLiTeCoreConfig, x: Ref) -> Ref:
    """[k q v β γ] = W x and [p1 p2 p3] = W' x per head, the equations of ``recurrences/agalite.py``, and
    y = W_o out + b."""
    heads, width = cfg.n_heads, x.width // cfg.n_heads
    inputs = _per_head(b, "kqvbg_proj", x, heads, 5, width)
    features = _per_head(b, "p123_proj", x, heads, 3, cfg.eta)
    slots = (
        b.state("tilde_k", (cfg.r, heads, cfg.eta * width)),
        b.state("tilde_v", (cfg.r, heads, width)),
        b.state("s", (heads, cfg.eta * width)),
        b.state("tick", (), dtype="i64", start=1),
    )
    rec = equations(cfg.r, cfg.eps)
    y, *after = b.ops(
        "agalite",
        inputs,
        features,
        *slots,
        b.resets,
        hints=("out", "tilde_k", "tilde_v", "s", "tick"),
        name=rec.name,
        mode=b.mode,
        eps=cfg.eps,
        head_width=width,
        features=cfg.eta,
        flops=cost(rec, width=x.width, head_width=width, features=cfg.eta).flops_forward,
        impl="auto",
    )
    for slot, value in zip(slots, after, strict=True):
        b.carry(slot, value)
    joined = b.op("flatten", y, join=2, hint="joined")
    return b.linear("out_proj", joined, x.width, rule="orthogonal", args=(GAIN,), bias_rule="constant", bias_args=(0,))


def _per_head(b: Builder, name: str, x: Ref, heads: int, parts: int, width: int) -> Ref:
    """One product, ``[.., N, parts, width]``: each head's rows hold its parts one after the other."""
    both = b.linear(name, x, heads * parts * width, bias=False, rule="orthogonal", args=(GAIN,))
    return b.op("unflatten", both, sizes=(heads, parts, width), hint=name.removesuffix("_proj"))

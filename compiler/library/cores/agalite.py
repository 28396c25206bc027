"""AGaLiTe: gated linear attention over outer products, with an oscillating memory of rank r. arXiv 2310.15719."""

from __future__ import annotations

from ....cortex_dsl import AGaLiTeCoreConfig
from ..builder import Builder, Ref
from ..registry import part

GAIN = 2**0.5


@part(AGaLiTeCoreConfig)
def agalite(b: Builder, cfg: AGaLiTeCoreConfig, x: Ref) -> Ref:
    """[k q v β γ] = W x and [p1 p2 p3] = W' x per head, the memories of ``kernels/agalite``, and y = W_o out + b."""
    heads, width = cfg.n_heads, x.width // cfg.n_heads
    k, q, v, beta, gamma = _per_head(b, "kqvbg_proj", x, heads, width, ("k", "q", "v", "beta", "gamma"))
    p1, p2, p3 = _per_head(b, "p123_proj", x, heads, cfg.eta, ("p1", "p2", "p3"))
    slots = (
        b.state("tilde_k", (cfg.r, heads, cfg.eta * width)),
        b.state("tilde_v", (cfg.r, heads, width)),
        b.state("s", (heads, cfg.eta * width)),
        b.state("tick", (), dtype="i64", start=1),
    )
    y, *after = b.temporal(
        "agalite",
        k,
        q,
        v,
        beta,
        gamma,
        p1,
        p2,
        p3,
        *slots,
        hints=("out", "tilde_k", "tilde_v", "s", "tick"),
        eps=cfg.eps,
    )
    for slot, value in zip(slots, after, strict=True):
        b.carry(slot, value)
    joined = b.op("flatten", y, join=2, hint="joined")
    return b.linear("out_proj", joined, x.width, rule="orthogonal", args=(GAIN,), bias_rule="constant", bias_args=(0,))


def _per_head(b: Builder, name: str, x: Ref, heads: int, width: int, names: tuple[str, ...]) -> tuple[Ref, ...]:
    """One product; each head's rows hold its parts one after the other."""
    both = b.linear(name, x, heads * len(names) * width, bias=False, rule="orthogonal", args=(GAIN,))
    split = b.op("unflatten", both, sizes=(heads, len(names) * width))
    return b.ops("split", split, sizes=(width,) * len(names), hints=names)

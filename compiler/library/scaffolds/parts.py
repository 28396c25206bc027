"""What several scaffolds share: the GTrXL gate, the feed-forward pair, the up-projected path."""

from __future__ import annotations

from ....cortex_dsl import PostUpScaffoldConfig, PreUpScaffoldConfig, mLSTMCoreConfig
from ..builder import Builder, Ref
from ..dropout import drop
from ..registry import build_core


def gate(b: Builder, name: str, x: Ref, y: Ref, bias: float) -> Ref:
    """GRU-style gate of GTrXL, arXiv 1910.06764 §3.2:
    r = σ(W_r y + U_r x); z = σ(W_z y + U_z x - b); h = tanh(W_g y + U_g (r ⊙ x)); (1 - z) x + z h."""
    width = x.width
    g = b.at(name)
    bg = g.param("bg", (width,), "constant", bias)

    def map_(weight: str, of: Ref) -> Ref:
        return g.linear(weight, of, width, bias=False)

    r = b.op("sigmoid", map_("Wr", y) + map_("Ur", x), hint="r")
    z = b.op("sigmoid", map_("Wz", y) + map_("Uz", x) - bg, hint="z")
    h = b.op("tanh", map_("Wg", y) + map_("Ug", r * x), hint="h")
    return b.op("lerp", x, h, z, hint="gated")


def feed_forward(b: Builder, cfg: PostUpScaffoldConfig, x: Ref, width: int) -> Ref:
    """W_2 dropout(SiLU(W_1 x)), inner width ``int(proj_factor · width)``."""
    inner = b.op("silu", b.linear("ffn_in", x, int(cfg.proj_factor * width)))
    return b.linear("ffn_out", drop(b, inner, cfg.dropout, "feed forward"), width)


def pre_up(b: Builder, cfg: PreUpScaffoldConfig, x: Ref) -> Ref:
    """The transformed path of PreUp and PreUpGated, before it is joined to x:
    W_out dropout((core(…) + skip ⊙ SiLU(a)) ⊙ SiLU(z)), [a, z] = W_in LN(x)."""
    inner = int(cfg.proj_factor * x.width)
    a, z = b.ops(
        "split", b.linear("in_proj", b.layer_norm("norm", x), 2 * inner), sizes=(inner, inner), hints=("a", "z")
    )
    active = b.op("silu", a, hint="active")
    # An mLSTM has its own convolution and activation in front, so it takes the raw branch.
    raw = isinstance(cfg.core, mLSTMCoreConfig) and not cfg.core.use_axon_qkv
    h = build_core(b, cfg.core, a if raw or not cfg.activate_cell_input else active)
    skip = b.param("learnable_skip", (inner,), "constant", 1)
    gated = (h + skip * active) * b.op("silu", z)
    return b.linear("out_proj", drop(b, gated, cfg.dropout, "up-projected"), x.width)

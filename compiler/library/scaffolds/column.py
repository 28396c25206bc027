"""Column: experts in parallel, weighed by a prior, refined per token, mixed over the expert axis (spec: Column).

With u = RMSNorm(x), Δ_e = Scaffold_e(u) - u:

    prior     z_e = (W_k key_e)·(W_q context)/√d_key/temperature, top-k, log-softmax
    refine    p_e = (W_t u)·k_e/(τ √d_local), centred over the experts
    α       = softmax(log-softmax(z) + λ p)
    mixer     A_ef = softmax_f((W_q u + b_e)·(W_k Δ_f)/√d_key),  Mixer(Δ)_e = W_o Σ_f A_ef W_v Δ_f
    r       = Σ_e α_e (Δ_e + Mixer(Δ)_e) + (u - x)
    out     = x + α_main r + α_col W_2 GELU(W_1 r)

The mixer's maps are linear and the same for every expert, so Σ_e α_e Mixer(Δ)_e = W_o W_v Σ_f β_f Δ_f with
β_f = Σ_e α_e A_ef, and (W_q u + b_e)·W_k Δ_f = (W_kᵀ W_q u + W_kᵀ b_e)·Δ_f: no product per expert is left. The
reference backend computes the equations as they stand; so does a stack with routed adapters: a row's maps are its own.
"""

from __future__ import annotations

from ....cortex_dsl import ColumnScaffoldConfig
from ...ir import B
from ..builder import Builder, Ref
from ..registry import class_name, lookup, part, where_of

SMALL = 1e-3


@part(ColumnScaffoldConfig)
def column(b: Builder, cfg: ColumnScaffoldConfig, x: Ref) -> Ref:
    if len(cfg.experts) == 1:
        return _expert(b, cfg, 0, x)
    u = b.op("rms_norm", x, b.param("boundary_norm.weight", (x.width,), "constant", 1), width=x.width, hint="u")
    outputs = [_expert(b, cfg, e, u) for e in range(len(cfg.experts))]
    logits = _logits(b, cfg, u)
    mix = _mix_plain if _as_written(b) else _mix
    r = mix(b, cfg, x, u, outputs, logits)
    head = b.at("head")
    inner = head.linear("fc1", r, 2 * x.width)
    corrected = head.linear(
        "fc2", b.op("gelu", inner), x.width, rule="constant", args=(0,), bias_rule="constant", bias_args=(0,)
    )
    main = b.param("alpha_main", (), "constant", cfg.alpha_init)
    col = b.param("alpha_col", (), "constant", cfg.alpha_init)
    return x + r * main + corrected * col


def _as_written(b: Builder) -> bool:
    """Whether the equations are not to be rewritten."""
    return b.plain or b.adapter is not None


def _expert(b: Builder, cfg: ColumnScaffoldConfig, index: int, x: Ref) -> Ref:
    expert = cfg.experts[index]
    state = f"expert_{class_name(expert)}_{index}"
    outer = f"{b.where} > " if b.scope else ""  # a column inside another part says where
    return lookup(expert)(b.at(f"experts.{index}", state=state, where=outer + where_of(expert, index)), expert, x)


def _logits(b: Builder, cfg: ColumnScaffoldConfig, u: Ref) -> Ref:
    """log prior + λ · refinement, ``[…, E]``; ``-inf`` outside the top-k."""
    router, experts, width = cfg.router, len(cfg.experts), u.width
    d_key, d_local = router.d_key or width, router.d_key_local or width
    scale = (d_key**0.5 if router.use_sqrt_scale else d_key) * router.temperature
    g = b.at("router")
    keys = g.param("keys", (experts, width), "uniform", -SMALL, SMALL)
    context = g.param("context", (width,), "constant", 0)
    # Small and not zero: with context = 0 the prior is uniform, and its gradient is alive.
    wq = g.param("Wq.weight", (d_key, width), "uniform", -(width**-0.5), width**-0.5)
    wk = g.param("Wk.weight", (d_key, width), "uniform", -(width**-0.5), width**-0.5)
    query = b.map(context, wq)
    prior = b.op("prior", _scores(b, b.map(keys, wk), query) / scale, top_k=_top_k(cfg))
    if B in prior.type.shape and not b.step:
        prior = b.op("unsqueeze", prior)  # [B, 1, E], for all steps
    if not router.whisper_lambda:
        return prior
    local = b.at("refiner")
    k_loc = local.param("k_loc", (experts, d_local), "uniform", -SMALL, SMALL)
    wt = local.param("Wq_tok.weight", (d_local, width), "uniform", -SMALL, SMALL)
    if _as_written(b):
        p = b.op("linear", b.map(u, wt), k_loc)
    else:
        p = b.op("linear", u, b.op("linear_t", k_loc, wt), hint="refine")
    if router.center_refine:
        p = b.op("center", p)
    return p * (router.whisper_lambda / (router.local_temperature * d_local**0.5)) + prior


def _top_k(cfg: ColumnScaffoldConfig) -> int | None:
    """How many experts the router leaves. Not restricted, the support does not bind: every expert keeps its prior, and
    the refinement may favour it."""
    return cfg.router.top_k if cfg.router.restrict_to_topk else None


def _scores(b: Builder, keys: Ref, query: Ref) -> Ref:
    """``[E, K] · [K]``; with adapters on the maps that made them, of every row by itself."""
    if b.adapter is None:
        return b.op("linear_vector", keys, query)
    return b.op("einsum", keys, query, equation="...ek,...k->...e")


def _mixer_params(b: Builder, cfg: ColumnScaffoldConfig, width: int) -> tuple[Ref, Ref, Ref, Ref, Ref, float]:
    d_key = cfg.router.d_key or width
    g = b.at("e_mixer")
    wq, wk = (g.param(f"{n}.weight", (d_key, width), "uniform", -SMALL, SMALL) for n in ("Wq", "Wk"))
    wv = g.param("Wv.weight", (width, width), "uniform", -SMALL, SMALL)
    bias = g.param("q_bias", (len(cfg.experts), d_key), "uniform", -SMALL, SMALL)
    wo = g.param("out.weight", (width, width), "constant", 0)
    return wq, wk, wv, bias, wo, d_key**-0.5


def _mix(b: Builder, cfg: ColumnScaffoldConfig, x: Ref, u: Ref, outputs: list[Ref], logits: Ref) -> Ref:
    wq, wk, wv, bias, wo, scale = _mixer_params(b, cfg, x.width)
    query = b.op("linear_t", b.op("linear", u, wq, hint="mix_query"), wk, hint="mix_query")
    offset = b.op("linear_t", bias, wk, hint="mix_offset")
    hints = ("r_main", "mixed")
    sparse = {"sparse": True} if (_top_k(cfg) or len(outputs)) < len(outputs) else {}
    main, mixed = b.ops("column_mix", x, u, query, offset, logits, *outputs, scale=scale, **sparse, hints=hints)
    return main + b.op("linear", b.op("linear", mixed, wv), wo, hint="mixer")


def _mix_plain(b: Builder, cfg: ColumnScaffoldConfig, x: Ref, u: Ref, outputs: list[Ref], logits: Ref) -> Ref:
    wq, wk, wv, bias, wo, scale = _mixer_params(b, cfg, x.width)
    deltas = b.op("stack", *(y - u for y in outputs), hint="deltas")
    query = b.op("unsqueeze", b.map(u, wq)) + bias
    keys, values = b.map(deltas, wk), b.map(deltas, wv)
    scores = b.op("einsum", query, keys, equation="...ek,...fk->...ef") * scale
    attention = b.op("softmax", b.op("mask_experts", scores, logits))
    mixed = b.map(b.op("einsum", attention, values, equation="...ef,...fh->...eh"), wo)
    alpha = b.op("softmax", logits, hint="alpha")
    return b.op("einsum", alpha, deltas + mixed, equation="...e,...eh->...h") + (u - x)

"""Axon: the real-time recurrent unit, arXiv 2409.01449, diagonal complex recurrence with eligibility traces."""

from __future__ import annotations

from ....cortex_dsl import AxonCoreConfig
from ..builder import Builder, Ref
from ..recurrences import axon as equations
from ..registry import part

TRACES = [f"E_{p}_{c}" for p in ("nu", "th", "w1", "w2") for c in ("c1", "c2")]


@part(AxonCoreConfig)
def axon(b: Builder, cfg: AxonCoreConfig, x: Ref) -> Ref:
    """``y = W_out [c1, c2] + bias`` over the recurrence of ``recurrences/axon.py`` driven by ``u = W_in x``."""
    width = x.width
    bound = width**-0.5
    params = [
        b.param("nu_log", (width,), "axon_nu", cfg.r_min, cfg.r_max),
        b.param("theta_log", (width,), "axon_theta", cfg.max_phase),
        b.param("w1", (width,), "uniform", -bound, bound),
        b.param("w2", (width,), "uniform", -bound, bound),
    ]
    states = [b.state("hc1", (width,)), b.state("hc2", (width,))]
    traces = [b.state(name, (width,)) for name in TRACES]
    u = b.linear("input_proj", x, width, bias=False, rule="orthogonal") if cfg.use_untraced_linear else x
    c1, c2 = b.recurrence(equations, u, params=params, states=states, traces=traces)
    both = b.op("cat", c1, c2)
    if cfg.activation != "identity":
        both = b.op(cfg.activation, both)
    return b.linear("out_proj", both, cfg.out_dim or width)

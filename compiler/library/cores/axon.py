"""Axon: the real-time recurrent unit, arXiv 2409.01449, diagonal complex recurrence with eligibility traces.

Exact across calls, when the incoming state is detached, are the gradients of the parameters that have traces:
``nu_log``, ``theta_log`` and the input weights ``w1 w2`` (``Wc1 Wc2``). ``input_proj`` has none, since one would hold
H² numbers for every row: its gradient is cut off at the start of the call, as is that of everything before the core.
"""

from __future__ import annotations

from ....cortex_dsl import AxonCoreConfig
from ..builder import Builder, Ref
from ..recurrences import axon as equations
from ..recurrences import axon_fullrank
from ..registry import part

STATES = ("c1", "c2")
SEED = 0  # of the SRHT, one for all layers


@part(AxonCoreConfig)
def axon(b: Builder, cfg: AxonCoreConfig, x: Ref) -> Ref:
    """``y = W_out act([c1, c2]) + bias`` over the recurrence of ``recurrences/axon.py``, driven by ``u = SRHT(x)`` or
    ``W_in x`` or ``x``."""
    width = x.width
    params = [
        b.param("nu_log", (width,), "axon_nu", cfg.r_min, cfg.r_max),
        b.param("theta_log", (width,), "axon_theta", cfg.max_phase),
    ]
    run = _fullrank if cfg.use_fullrank_rtu else _diagonal
    both = b.op("cat", *run(b, params, _input(b, cfg, x)))
    if cfg.activation != "identity":
        both = b.op(cfg.activation, both)
    return b.linear("out_proj", both, cfg.out_dim or width)


def _input(b: Builder, cfg: AxonCoreConfig, x: Ref) -> Ref:
    """What drives the recurrence. ``use_srht``, which is off unless asked for, comes before ``use_untraced_linear``."""
    if cfg.use_srht:
        signs = b.param("srht_signs", (x.width,), "srht_signs", SEED, trainable=False)
        order = b.param("srht_perm", (x.width,), "srht_order", SEED, cfg.srht_permute, trainable=False, dtype="i64")
        return b.op("srht", x, order, signs)
    if cfg.use_untraced_linear:
        return b.linear("input_proj", x, x.width, bias=False, rule="orthogonal")
    return x


def _slots(b: Builder, params: tuple[str, ...], *shape: int) -> list[Ref]:
    return [b.state(f"E_{p}_{c}", shape) for p in params for c in STATES]


def _diagonal(b: Builder, params: list[Ref], u: Ref) -> tuple[Ref, ...]:
    width = u.width
    params += [b.param(name, (width,), "uniform", -(width**-0.5), width**-0.5) for name in ("w1", "w2")]
    states = [b.state(f"h{c}", (width,)) for c in STATES]
    traces = _slots(b, ("nu", "th", "w1", "w2"), width)
    return b.recurrence(equations, u, params=params, states=states, traces=traces)


def _fullrank(b: Builder, params: list[Ref], u: Ref) -> tuple[Ref, ...]:
    """W_c1 u and W_c2 u as inputs of a diagonal recurrence. Its own traces are those of ν and θ; those of the maps are
    ``[B, H, H]``, which ``kernels/rtu`` carries, and ties to a detached state before the recurrence reads it."""
    width = u.width
    maps = [b.param(name, (width, width), "uniform", -(width**-0.5), width**-0.5) for name in ("Wc1", "Wc2")]
    slots = [b.state(f"h{c}", (width,)) for c in STATES]
    own = _slots(b, ("nu", "th"), width)
    outer = _slots(b, ("w1", "w2"), width, width)
    seen = [b.matrix(w, dropped=True) for w in maps]
    known = b.temporal("rtu_attach", *slots, *params, *seen, *own, *outer, hints=("hc1_known", "hc2_known"))
    drive = b.op("stack", *(b.map(u, w) for w in maps), hint="drive")
    outputs, after = b.advance(axon_fullrank, drive, params=params, states=known, traces=own)
    outer_after = b.temporal("rtu_traces", u, *params, *outer, hints=[s.name.rpartition(".")[2] for s in outer])
    for slot, value in zip((*slots, *own, *outer), (*after, *outer_after), strict=True):
        b.carry(slot, value)
    return outputs

"""Any recurrence that is written as equations, as a core: one map in front of it, and one behind where it is needed."""

from __future__ import annotations

from ....cortex_dsl import RecurrenceCoreConfig
from ...recurrence import Recurrence, trace_names
from ..builder import Builder, Ref
from ..recurrences import EQUATIONS
from ..registry import part


@part(RecurrenceCoreConfig)
def recurrence(b: Builder, cfg: RecurrenceCoreConfig, x: Ref) -> Ref:
    """Inputs = W x (+ bias), one product for all of them; then the equations. State and traces have their names.

    A recurrence that gives out one variable is the output itself, unless ``out_proj``; several become H again by a map.
    """
    rec, width = EQUATIONS[cfg.cell], x.width
    inputs = b.linear("in_proj", x, len(rec.inputs) * width, bias=rec.bias if cfg.bias is None else cfg.bias)
    if len(rec.inputs) > 1:
        inputs = b.op("unflatten", inputs, sizes=(len(rec.inputs), width), hint="inputs")
    rules = [start or ("linear", (width,)) for start in rec.start]
    params = [b.param(name, (width,), rule, *args) for name, (rule, args) in zip(rec.params, rules, strict=True)]
    # 0, not 0.0, where it is whole: as other parts write it
    starts = [int(v) if v == int(v) else v for v in rec.initial]
    states = [b.state(name, (width,), start=start) for name, start in zip(rec.state, starts, strict=True)]
    traces = [b.state(name, (width,)) for name in trace_names(rec)] if cfg.traces and _traced(rec) else []
    outputs = b.recurrence(
        rec, inputs, params=params, weight=_matrices(b, cfg, rec, width), states=states, traces=traces
    )
    if len(outputs) == 1 and not cfg.out_proj:
        return outputs[0]
    return b.linear("out_proj", b.op("cat", *outputs) if len(outputs) > 1 else outputs[0], width)


def _traced(rec: Recurrence) -> bool:
    """Eligibility traces are one number a channel where every channel runs by itself."""
    return rec.recurrent is None


def _matrices(b: Builder, cfg: RecurrenceCoreConfig, rec: Recurrence, width: int) -> Ref | None:
    """The recurrent matrices ``[N, gates, D, D]`` (out, in), started as those of a torch.nn.GRU of that width D."""
    if rec.recurrent is None:
        return None
    heads = cfg.num_heads or 1
    inner = width // heads
    return b.param("recurrent_kernel", (heads, len(rec.gates), inner, inner), "linear", inner)

"""AxonLayer: a linear map with memory, ``AxonLayer(x) = Linear(x) + Axon(x)`` (seeds, V3), for the caret variants."""

from __future__ import annotations

from collections.abc import Sequence

from ....cortex_dsl import AxonCoreConfig
from ..builder import Builder, Ref
from .axon import axon


def default_config(width: int, out: int) -> AxonCoreConfig:
    """``cfg=None``: the SRHT where the width is a power of two, else the learned untraced map; identity activation."""
    power = width & (width - 1) == 0
    return AxonCoreConfig(hidden_size=width, out_dim=out, use_srht=power, use_untraced_linear=not power)


def axon_layer(
    b: Builder,
    name: str,
    x: Ref,
    out: int,
    *,
    group: str,
    state: str = "",
    cfg: AxonCoreConfig | None = None,
    rule: str = "linear",
    args: Sequence[float] = (),
    bias_rule: str = "",
    bias_args: Sequence[float] = (),
) -> Ref:
    """Parameters ``{name}.linear.*`` and ``{name}.core.*``; state at ``{group}/{state or name}`` of the core that
    owns it.
    The rules start the linear map; torch.nn.Linear's own if none is given."""
    cfg = default_config(x.width, out) if cfg is None else cfg.model_copy(update={"out_dim": out})
    layer = b.at(name)
    dense = layer.linear("linear", x, out, rule=rule, args=args, bias_rule=bias_rule, bias_args=bias_args)
    return dense + axon(layer.at("core", state=group).at(state=state or name), cfg, x)

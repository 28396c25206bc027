"""Adapter: a small residual path around another scaffold, which starts as the exact identity."""

from __future__ import annotations

from ....cortex_dsl import AdapterScaffoldConfig
from ..builder import Builder, Ref
from ..dropout import drop
from ..registry import lookup, part


@part(AdapterScaffoldConfig)
def adapter(b: Builder, cfg: AdapterScaffoldConfig, x: Ref) -> Ref:
    """y = s + g · (W_up dropout(act(W_down LN(s)))), s the output of the scaffold inside, whose state lies under
    ``wrapped``.

    W_up starts at 0, so the start is the identity; g starts at 1, since two zero factors would never train. g is one
    number, or with ``per_channel_gate`` one for each channel. LN has a bias too."""
    y = lookup(cfg.scaffold)(b.at("wrapped", state="wrapped"), cfg.scaffold, x)
    normed = b.layer_norm("norm", y, bias=True)
    down = b.linear("down", normed, cfg.bottleneck, bias_rule="constant", bias_args=(0,))
    active = down if cfg.activation == "identity" else b.op(cfg.activation, down)
    active = drop(b, active, cfg.dropout, "adapter")
    up = b.linear("up", active, y.width, rule="constant", args=(0,), bias_rule="constant", bias_args=(0,))
    gate = b.param("gate", (y.width,) if cfg.per_channel_gate else (), "constant", 1)
    return y + up * gate

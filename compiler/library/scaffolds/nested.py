"""A whole stack used as one core."""

from __future__ import annotations

from ....cortex_dsl import CortexStackConfig
from ..builder import Builder, Ref
from ..registry import class_name, lookup, not_yet, part


@part(CortexStackConfig)
def nested_stack(b: Builder, cfg: CortexStackConfig, x: Ref) -> Ref:
    """Layer after layer, then the norm: parameters under ``layers.N``, states under ``<Scaffold>_N``, as in a stack
    that stands by itself."""
    if cfg.routed_adapter is not None and cfg.routed_adapter.enabled:
        not_yet(cfg, "routed_adapter")  # adapters are the outermost stack's, and reach every map in here
    for index, layer in enumerate(cfg.scaffolds):
        inner = b.at(f"layers.{index}", state=f"{class_name(layer)}_{index}")
        x = lookup(layer)(inner, layer, x)
    return b.layer_norm("norm", x, bias=True) if cfg.post_norm else x

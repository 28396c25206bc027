"""Low-rank adapters of linear maps, one for each slot, chosen row by row (spec: routed adapters)."""

from .op import per_row, routed_adapter, routed_weight
from .reference import routed_adapter_reference

__all__ = ["per_row", "routed_adapter", "routed_adapter_reference", "routed_weight"]

"""Routed adapters: which stacks have them, and the parameters that stand beside a weight."""

from __future__ import annotations

from ...cortex_dsl import CortexStackConfig, RoutedAdapterConfig
from ..ir import Init, Param, Type


def adapter_of(spec: CortexStackConfig) -> RoutedAdapterConfig | None:
    """The routed adapters of a stack, if it has any and they are switched on."""
    adapter = spec.routed_adapter
    return adapter if adapter is not None and adapter.enabled else None


def scale_of(adapter: RoutedAdapterConfig) -> float:
    """alpha/rank; alpha is the rank unless it is given."""
    return float(adapter.alpha or adapter.rank) / adapter.rank


def beside(path: str, weight: Type, adapter: RoutedAdapterConfig) -> tuple[Param, Param]:
    """The parameters beside a weight ``[…, O, I]``: ``down [S, …, R, I]``, started as torch.nn.Linear's weight is, and
    ``up [S, …, O, R]``, which starts at 0. ``q_proj.weight`` has ``q_proj.adapter.down``, ``weight_ih_l0`` has
    ``weight_ih_l0_adapter.down``: the names of the trunk stay."""
    owner = path.removesuffix("weight") if path.endswith(".weight") else f"{path}_"
    *heads, out, inp = weight.shape
    slots, rank = adapter.num_slots, adapter.rank
    start, zero = Init("linear", (float(weight.width),)), Init("constant", (0.0,))
    return (
        Param(f"{owner}adapter.down", Type("f", (slots, *heads, rank, inp)), start, adapter=True),
        Param(f"{owner}adapter.up", Type("f", (slots, *heads, out, rank)), zero, adapter=True),
    )

"""Routed adapters at run time: the ids of a call, and how much everything else learns."""

from __future__ import annotations

import json
import math
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..cortex_dsl import RoutedAdapterConfig
from .errors import CortexInputError


def adapter_of(spec: str) -> RoutedAdapterConfig | None:
    """The adapters that a stack's spec (JSON) switches on, if any."""
    found = json.loads(spec).get("routed_adapter")
    adapter = None if found is None else RoutedAdapterConfig.model_validate(found)
    return adapter if adapter is not None and adapter.enabled else None


def check_routes(route_ids: Tensor | None, x: Tensor, adapter: RoutedAdapterConfig | None) -> Tensor | None:
    """The slot of every row, int64 ``[B]`` in ``[0, num_slots)``; None where the stack has no adapters or none are
    asked for. Raises CortexInputError.

    Values are looked at on a CPU. On a GPU that would make the host wait: there an id out of range stops the gather of
    its slot by a device-side assertion, as any index of torch does."""
    if adapter is None:
        if route_ids is not None:
            raise CortexInputError(
                "route_ids was given, and this stack has no routed adapters; compile it with "
                "routed_adapter=RoutedAdapterConfig(...) (enabled), or leave route_ids out"
            )
        return None
    rows, slots = x.shape[0], adapter.num_slots
    wanted = f"int64 [{rows}], one slot in [0, {slots}) for each row of x"
    if route_ids is None:
        if adapter.require_route_ids:
            raise CortexInputError(
                f"route_ids is missing; pass {wanted}: stack(x, state, route_ids=ids). "
                "With require_route_ids=False a call without them runs the trunk alone"
            )
        return None
    if not isinstance(route_ids, Tensor):
        raise CortexInputError(f"route_ids is a {type(route_ids).__name__}; expected a tensor, {wanted}")
    if route_ids.dtype != torch.int64:
        raise CortexInputError(f"route_ids is {route_ids.dtype}; expected {wanted}: route_ids.long()")
    if tuple(route_ids.shape) != (rows,):
        hint = "; a sequence keeps one route for each row" if route_ids.dim() == 2 else ""
        raise CortexInputError(f"route_ids has shape {list(route_ids.shape)}; expected {wanted}{hint}")
    if route_ids.device != x.device:
        raise CortexInputError(
            f"route_ids is on {route_ids.device}, x on {x.device}; move it: route_ids.to({str(x.device)!r})"
        )
    if route_ids.device.type == "cpu" and not torch.compiler.is_compiling():
        odd = route_ids[(route_ids < 0) | (route_ids >= slots)]
        if odd.numel():
            raise CortexInputError(f"route_ids holds {odd[0].item()}; this stack has {slots} slots, 0 to {slots - 1}")
    return route_ids


class TrunkScale:
    """Multiplies the gradient of every parameter that is no adapter by ``value``, through a hook on each.

    Hooks belong to tensors: copying, unpickling or replacing a parameter loses them. :meth:`follow` puts them on the
    parameters that a stack has now; the stack calls it wherever they may have changed, and before eager calls."""

    def __init__(self, value: float, adapters: frozenset[str]) -> None:
        self.value, self.adapters = value, adapters
        self._watched: list[weakref.ref[Tensor]] = []
        self._handles: list[RemovableHandle] = []

    def trunk(self, stack: nn.Module) -> list[nn.Parameter]:
        """The parameters that are no adapter's."""
        return [p for name, p in stack.named_parameters() if name not in self.adapters]

    def follow(self, stack: nn.Module) -> None:
        """Watch the trainable parameters of the trunk; costs nothing while the value is 1."""
        if self.value == 1.0 and not self._handles:
            return
        # functional_call swaps tensors in for a while: what is not a Parameter is somebody else's.
        now = [p for p in self.trunk(stack) if p.requires_grad and isinstance(p, nn.Parameter)]
        if len(now) == len(self._watched) and all(r() is p for r, p in zip(self._watched, now, strict=True)):
            return
        for handle in self._handles:
            handle.remove()
        self._handles = [p.register_hook(self._scaled) for p in now]
        self._watched = [weakref.ref(p) for p in now]

    def _scaled(self, grad: Tensor) -> Tensor:
        if self.value == 1.0:
            return grad
        # Frozen is frozen: zero times what overflowed would be NaN.
        return grad * self.value if self.value else torch.zeros_like(grad)

    def __getstate__(self) -> dict[str, Any]:
        return {"value": self.value, "adapters": self.adapters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def set_trunk_lr_mult_(stack: nn.Module, value: float) -> None:
    """Scale the gradient of every parameter of the stack that is no routed adapter's by ``value`` from now on.

    ``value`` is at least 0; 1 is no change and 0 freezes (the gradients are zeros: an optimizer with weight decay or
    momentum still moves what it holds, so give it the adapters alone, or compile with ``freeze_base=True``). The value
    is kept by copies, pickles and ``.to()``. Raises TypeError for what is no compiled stack, CortexInputError for a bad
    value."""
    stack = getattr(stack, "_orig_mod", stack)  # what torch.compile wrapped: names without its prefix
    scale = getattr(stack, "_trunk", None)
    if not isinstance(scale, TrunkScale):
        raise TypeError(f"set_trunk_lr_mult_ takes a compiled stack, not a {type(stack).__name__}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise CortexInputError(f"the multiplier of the trunk is {value!r}; expected a number of at least 0")
    scale.value = float(value)
    scale.follow(stack)

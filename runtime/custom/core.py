"""`MemoryCore`: a core of your own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch
from tensordict import TensorDict
from torch import nn

from ...cortex_dsl import CoreConfig
from ...kernels.foreign import empty
from .axon_layer import AxonLayer
from .part import StatefulPart


class MemoryCore(StatefulPart):
    """Base of a core of your own: any PyTorch with a state. Give it ``init_state`` and ``forward``; register it for its
    config with ``@register_core(Config)``.

    ``super().__init__(cfg)`` or ``super().__init__(hidden_size=64)`` sets ``self.hidden_size``, the width of x and y.
    """

    def __init__(self, cfg: CoreConfig | int | None = None, *, hidden_size: int | None = None) -> None:
        super().__init__()
        width = hidden_size if hidden_size is not None else getattr(cfg, "hidden_size", cfg)
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise TypeError(
                f"{type(self).__name__} needs hidden_size, a positive int; got {width!r}. Pass it, or a config that "
                f"has it: inside a stack it is filled in, alone write it: Config(hidden_size=64)"
            )
        self.hidden_size: int = width
        if isinstance(cfg, CoreConfig):
            self.cfg = cfg

    def init_state(self, batch: int, *, device: torch.device | str, dtype: torch.dtype) -> TensorDict:
        """A fresh state: ``{name: [batch, ...]}``, each leaf filled with one number, in ``dtype`` (or float32 for a sum
        that stays exact, int64 for a counter, bool). Leaves of AxonLayers inside are added."""
        return empty(batch)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "init_state" in vars(cls):
            cls.init_state = _with_axon_layers(cls.init_state)  # type: ignore[method-assign]


def _with_axon_layers(init_state: Callable[..., TensorDict]) -> Callable[..., TensorDict]:
    """init_state, and the leaves of the AxonLayers inside, which need not be named there."""

    @wraps(init_state)
    def complete(self: MemoryCore, batch: int, **like: Any) -> TensorDict:
        state = init_state(self, batch, **like)
        for place, layer in _axon_layers(self).items():
            if isinstance(state, TensorDict) and state.get(place, None) is None:
                if state.get(place[0], None) is None:
                    state.set(place[0], empty(batch))
                state.set(place, layer.init_state(batch, **like))
        return state

    return complete


MemoryCore.init_state = _with_axon_layers(MemoryCore.init_state)  # type: ignore[method-assign]


def _axon_layers(core: nn.Module) -> dict[tuple[str, str], AxonLayer]:
    """The AxonLayers of a core by their place in its state; parts inside it see to their own."""
    found: dict[tuple[str, str], AxonLayer] = {}
    for layer in _walk(core):
        place = (layer.group, layer.name)
        if found.setdefault(place, layer) is not layer:
            raise ValueError(
                f"two AxonLayers of {type(core).__name__} keep their state at {'/'.join(place)}; "
                "give each its own name="
            )
    return found


def _walk(module: nn.Module) -> Iterator[AxonLayer]:
    for child in module.children():
        if isinstance(child, AxonLayer):
            yield child
        elif not isinstance(child, StatefulPart):
            yield from _walk(child)

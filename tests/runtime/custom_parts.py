"""Parts that a user could have written: what the tests of custom parts build stacks from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from cortexc import (
    AxonLayer,
    BaseScaffold,
    CoreConfig,
    MemoryCore,
    ScaffoldConfig,
    register_core,
    register_scaffold,
    register_token,
    update_parent_state,
)
from cortexc.config import PostUpScaffoldConfig
from cortexc.cortex_dsl import default_registry


class GRUConfig(CoreConfig):
    num_layers: int = 1


@register_core(GRUConfig)
class GRU(MemoryCore):
    """torch.nn.GRU with a loop over time where there are resets."""

    def __init__(self, cfg: GRUConfig) -> None:
        super().__init__(hidden_size=cfg.hidden_size)
        self.num_layers = cfg.num_layers
        self.net = nn.GRU(self.hidden_size, self.hidden_size, num_layers=cfg.num_layers, batch_first=True)

    def init_state(self, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        h = torch.zeros(batch, self.num_layers, self.hidden_size, device=device, dtype=dtype)
        return TensorDict({"h": h}, batch_size=[batch])

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, TensorDict]:
        if resets is not None:
            return self.scan(self.forward, x, state, resets)
        y, h = self.net(x.view(x.shape[0], -1, x.shape[-1]), state["h"].transpose(0, 1).contiguous())
        return y.view_as(x), TensorDict({"h": h.transpose(0, 1)}, batch_size=[x.shape[0]])


class CountingConfig(CoreConfig):
    """A core whose leaves are of every kind: model dtype, accumulator, counter, flag; one starts at -1."""


@register_core(CountingConfig)
class Counting(MemoryCore):
    """y = x · (mean of the inputs so far) + steps + (has a positive input come?), with a frozen scale."""

    def __init__(self, cfg: CountingConfig) -> None:
        super().__init__(cfg)
        self.register_buffer("scale", torch.tensor(0.5))

    def init_state(self, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return TensorDict(
            {
                "last": torch.full((batch, self.hidden_size), -1.0, device=device, dtype=dtype),
                "deep": {"sum": torch.zeros(batch, self.hidden_size, device=device, dtype=wide)},
                "steps": torch.zeros(batch, device=device, dtype=torch.int64),
                "seen": torch.zeros(batch, device=device, dtype=torch.bool),
            },
            batch_size=[batch],
        )

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, TensorDict]:
        return self.scan(self._update, x, state, resets)

    def _update(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        steps, total = state["steps"] + 1, state["deep", "sum"] + x
        seen = state["seen"] | (x.sum(-1) > 0)
        y = x * total / steps[:, None] + state["last"] * self.scale + steps[:, None] + seen[:, None]
        after = {"last": x, "deep": {"sum": total}, "steps": steps, "seen": seen}
        return y.to(x.dtype), TensorDict(after, batch_size=[x.shape[0]])


class AxonGatedConfig(CoreConfig):
    pass


@register_core(AxonGatedConfig)
class AxonGated(MemoryCore):
    """Two AxonLayers, one wider than its input, beside a leaf of the core's own."""

    capturable = True

    def __init__(self, cfg: AxonGatedConfig) -> None:
        super().__init__(cfg)
        self.wide = AxonLayer(self.hidden_size, 2 * self.hidden_size, name="wide", group="gates")
        self.inner = nn.ModuleList([AxonLayer(self.hidden_size, self.hidden_size, name="inner", group="gates")])

    def init_state(self, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        return TensorDict({"tick": torch.zeros(batch, device=device, dtype=torch.int64)}, batch_size=[batch])

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, TensorDict]:
        a, b = self.wide(x, state=state, resets=resets).chunk(2, -1)
        y = self.inner[0](torch.sigmoid(a) * b, state=state, resets=resets)
        steps = 1 if x.dim() == 2 else x.shape[1]
        tick = state["tick"] + steps
        if resets is not None:
            mask = resets.view(x.shape[0], -1)
            after = mask.flip(1).int().argmax(1) + 1  # steps since the last reset, where there is one
            tick = torch.where(mask.any(1), after, tick)
        following = TensorDict({"tick": tick}, batch_size=[x.shape[0]])
        update_parent_state(following, state)
        return y, following


class NoStateConfig(CoreConfig):
    pass


@register_core(NoStateConfig)
class NoState(MemoryCore):
    """A core without memory, which returns None for its state."""

    def __init__(self, cfg: NoStateConfig) -> None:
        super().__init__(cfg)
        self.map = nn.Linear(self.hidden_size, self.hidden_size)

    def init_state(self, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        return TensorDict({}, batch_size=[batch])

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, None]:
        return torch.tanh(self.map(x)), None


class SidewaysConfig(ScaffoldConfig):
    """A scaffold with a width of its own for the core."""

    gate_bias: float = 0.0

    def core_width(self, d_hidden: int) -> int:
        return d_hidden // 2


@register_scaffold(SidewaysConfig)
class Sideways(BaseScaffold):
    """y = x + σ(g x + b) ⊙ up(core(down(x))), with a leaf of its own: the last output."""

    def __init__(self, cfg: SidewaysConfig, d_hidden: int) -> None:
        super().__init__(cfg, d_hidden)
        self.down, self.up = nn.Linear(d_hidden, d_hidden // 2), nn.Linear(d_hidden // 2, d_hidden)
        self.gate = nn.Parameter(torch.zeros(d_hidden))

    def init_state(self, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        state = super().init_state(batch, device=device, dtype=dtype)
        state["last"] = torch.zeros(batch, self.d_hidden, device=device, dtype=dtype)
        return state

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        y, after = self.run_core(self.down(x), state, resets=resets)
        y = x + torch.sigmoid(self.gate * x + self.cfg.gate_bias) * self.up(y)
        after["last"] = y if x.dim() == 2 else y[:, -1]
        return y, after


@pytest.fixture
def gru_token() -> Iterator[None]:
    """The token `Gru`, for as long as a test runs."""
    register_token("Gru")(lambda: PostUpScaffoldConfig(core=GRUConfig()))
    yield
    default_registry().remove("Gru")

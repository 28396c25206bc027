"""`AxonLayer`: a linear map with memory, for cores of your own (spec: Axon, AxonLayer)."""

from __future__ import annotations

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from ...compiler.library.cores.axon_layer import default_config
from ...cortex_dsl import AxonCoreConfig
from ...kernels.foreign import empty, structure
from .builtin import AxonCore


class AxonLayer(nn.Module):
    """``y = Linear(x) + Axon(x)``: in the place of an ``nn.Linear(in_features, out_features)``, with memory.

    ``y = layer(x, state=state, resets=resets)``: ``x [B, T, in]`` or ``[B, in]``, y with the last axis ``out``. Its
    leaves stand at ``state[group][name]`` of the TensorDict it is given, and the call **writes** the next ones there;
    inside a MemoryCore that TensorDict is the core's own copy. ``cfg=None``: SRHT where ``in_features`` is a power of
    two, else a learned map. The gradient of ν, θ and w reaches through detached states by eligibility traces."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        cfg: AxonCoreConfig | None = None,
        *,
        name: str = "axon",
        group: str = "axon",
        backend: str | None = None,
    ) -> None:
        super().__init__()
        for what, word in (("name", name), ("group", group)):
            if not isinstance(word, str) or not word.isidentifier():
                raise ValueError(f"AxonLayer: {what} is {word!r}; it is a key of the state, so give a plain word")
        self.in_features, self.out_features = in_features, out_features
        self.name, self.group = name, group
        self.linear = nn.Linear(in_features, out_features)
        self.core = AxonCore(_branch(in_features, out_features, cfg), backend=backend)

    def forward(self, x: Tensor, *, state: TensorDictBase, resets: Tensor | None = None) -> Tensor:
        """Reads ``state[group][name]`` (absent: fresh) and sets it. Raises TypeError without a TensorDict."""
        held = self._held(state)
        y, after = self.core(x, held, resets=resets)
        if state.get(self.group, None) is None:
            state.set(self.group, empty(x.shape[0]))
        state.set((self.group, self.name), after)
        return self.linear(x) + y

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TensorDict:
        """Fresh leaves, ``hc1 hc2`` and the traces."""
        return self.core.init_state(batch, device=device, dtype=dtype)

    def reset_state(self, mask: Tensor, *, state: TensorDictBase) -> TensorDictBase:
        """The state with this layer's part fresh in the rows where ``mask [B]`` is true; the given one is not
        changed."""
        held, after = self._held(state), structure(state)
        if held is not None:
            after.set((self.group, self.name), self.core.reset_state(held, mask))
        return after

    def _held(self, state: object) -> TensorDict | None:
        if not isinstance(state, TensorDictBase):
            raise TypeError(
                f"AxonLayer keeps its memory in a TensorDict of the core around it; state is a {type(state).__name__}"
            )
        return state.get((self.group, self.name), None)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, state={self.group}/{self.name}"


def _branch(in_features: int, out_features: int, cfg: AxonCoreConfig | None) -> AxonCoreConfig:
    """The config of the recurrent branch. A config that says otherwise is an error, never quietly another layer."""
    if cfg is None:
        return default_config(in_features, out_features)
    if not isinstance(cfg, AxonCoreConfig):
        raise TypeError(f"AxonLayer: cfg is a {type(cfg).__name__}; expected an AxonCoreConfig or None")
    for field, given, expected in (
        ("hidden_size", cfg.hidden_size, in_features),
        ("out_dim", cfg.out_dim, out_features),
        ("activation", cfg.activation, "identity"),
    ):
        if given not in (None, expected):
            raise ValueError(f"AxonLayer({in_features}, {out_features}): cfg has {field}={given!r}, not {expected!r}")
    return cfg.model_copy(update={"hidden_size": in_features, "out_dim": out_features})


def update_parent_state(next_state: TensorDictBase, state: TensorDictBase) -> None:
    """Take over into ``next_state`` the nested parts that ``state`` holds and it does not: what AxonLayers wrote there
    during the call. Tensors of ``state`` are the core's own and are not taken."""
    for key, value in state.items():
        if not isinstance(value, TensorDictBase):
            continue
        mine = next_state.get(key, None)
        if mine is None:
            next_state.set(key, structure(value))
        elif isinstance(mine, TensorDictBase):
            for name, part in value.items():
                if mine.get(name, None) is None:
                    mine.set(name, part)

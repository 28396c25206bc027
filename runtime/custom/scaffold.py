"""`BaseScaffold`: a scaffold of your own, around any core."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from ...compiler.library import foreign
from ...cortex_dsl.spec import Node
from ...kernels.foreign import empty, structure
from .building import current_backend
from .builtin import built_in
from .part import StatefulPart


class BaseScaffold(StatefulPart):
    """Base of a scaffold of your own. Give it ``forward``; register it for its config with
    ``@register_scaffold(Config)``.

    It has ``self.core``, the module of the nested core with the same contract ``y, state = core(x, state,
    resets=...)``, ``self.d_hidden``, the width of x, and ``self.cfg``. The core's width is
    ``cfg.core_width(d_hidden)``: override that in the config for another than ``d_hidden``. The state is ``{core's
    class name: core's state}``: :meth:`run_core` takes it apart and puts it together."""

    def __init__(self, cfg: Any, d_hidden: int, core: nn.Module | None = None) -> None:
        super().__init__()
        self.cfg, self.d_hidden = cfg, d_hidden
        if core is None and cfg.core is None:
            raise TypeError(f"{type(self).__name__} has no core: {type(cfg).__name__}(core=LSTMCoreConfig())")
        self.core = core if core is not None else make_core(cfg.core, cfg.core_width(d_hidden))

    @property
    def core_name(self) -> str:
        """The key of the core's state: its class name."""
        return type(self.core).__name__

    def run_core(
        self, x: Tensor, state: TensorDictBase, *, resets: Tensor | None = None
    ) -> tuple[Tensor, TensorDictBase]:
        """``y`` of the core, and this scaffold's next state: the core's new part in it, everything else as it was."""
        y, inner = self.core(x, state.get(self.core_name, None), resets=resets)
        after = structure(state)
        after.set(self.core_name, empty(x.shape[0]) if inner is None else inner)
        return y, after

    def init_state(self, batch: int, *, device: torch.device | str, dtype: torch.dtype) -> TensorDict:
        """The core's fresh state under its class name. Add leaves of your own to what ``super()`` gives."""
        state = empty(batch)
        state.set(self.core_name, self.core.init_state(batch, device=device, dtype=dtype))  # type: ignore[operator]
        return state


def make_core(cfg: Node, width: int) -> nn.Module:
    """The module of a nested core: a registered one, or a built-in part compiled by itself."""
    part = foreign.find(cfg)
    if part is None:
        return built_in(cfg, width)
    if getattr(cfg, "hidden_size", width) is None:
        cfg = cfg.model_copy(update={"hidden_size": width})
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    return part.make(cfg, width, backend=current_backend(), dtype=dtype, device=device)

"""The built-in cores and scaffolds as modules of their own: what a custom scaffold holds, and ``cortexc.cores``."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from ...compiler import build
from ...compiler.alone import as_stack
from ...cortex_dsl import (
    AdapterScaffoldConfig,
    AGaLiTeCoreConfig,
    AxonCoreConfig,
    CausalConv1dCoreConfig,
    ColumnScaffoldConfig,
    CortexStackConfig,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    PostUpGatedScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpGatedScaffoldConfig,
    PreUpScaffoldConfig,
    XLCoreConfig,
    mLSTMCoreConfig,
    sLSTMCoreConfig,
)
from ...cortex_dsl.spec import Node
from ..backends import effective_backend
from ..loader import store
from ..module import CompiledStack, as_dtype
from .building import current_backend


class CompiledPart(CompiledStack):
    """One part compiled by itself: ``y, state = part(x, state, resets=mask)``.

    ``cfg``: its config; ``d_hidden``: the width of x where the config does not say (a core's ``hidden_size`` does).
    """

    config: ClassVar[type[Node]]

    def __init__(
        self,
        cfg: Any = None,
        *,
        d_hidden: int | None = None,
        backend: str | None = None,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        wanted = getattr(type(self), "config", Node)
        if not isinstance(cfg, wanted):
            raise TypeError(f"{type(self).__name__} takes a {wanted.__name__}; got {type(cfg).__name__}")
        own: int | None = getattr(cfg, "hidden_size", getattr(cfg, "d_hidden", None))
        width = d_hidden or own
        if width is None:
            raise TypeError(f"{type(self).__name__} alone has no width: pass d_hidden=, or write it in the config")
        if own not in (None, width):
            raise ValueError(f"{type(self).__name__}: the config says {own} is its width, d_hidden={width} another")
        spec, part = as_stack(cfg, width)
        chosen = as_dtype(dtype) if dtype is not None else torch.get_default_dtype()
        name = str(chosen).removeprefix("torch.")
        artifact = build(spec, backend=effective_backend(backend or current_backend()), dtype=name, part=part)
        super().__init__(store(artifact), dtype=chosen, device=device)


class AxonCore(CompiledPart):
    config = AxonCoreConfig


class XLCore(CompiledPart):
    config = XLCoreConfig


class mLSTMCore(CompiledPart):
    config = mLSTMCoreConfig


class sLSTMCore(CompiledPart):
    config = sLSTMCoreConfig


class LSTMCore(CompiledPart):
    config = LSTMCoreConfig


class CausalConv1dCore(CompiledPart):
    config = CausalConv1dCoreConfig


class AGaLiTeCore(CompiledPart):
    config = AGaLiTeCoreConfig


class PassThroughScaffold(CompiledPart):
    config = PassThroughScaffoldConfig


class PreUpScaffold(CompiledPart):
    config = PreUpScaffoldConfig


class PreUpGatedScaffold(CompiledPart):
    config = PreUpGatedScaffoldConfig


class PostUpScaffold(CompiledPart):
    config = PostUpScaffoldConfig


class PostUpGatedScaffold(CompiledPart):
    config = PostUpGatedScaffoldConfig


class AdapterScaffold(CompiledPart):
    config = AdapterScaffoldConfig


class ColumnScaffold(CompiledPart):
    config = ColumnScaffoldConfig


class CortexStack(CompiledPart):
    config = CortexStackConfig


CORES = (AxonCore, XLCore, mLSTMCore, sLSTMCore, LSTMCore, CausalConv1dCore, AGaLiTeCore)
SCAFFOLDS = (
    PassThroughScaffold,
    PreUpScaffold,
    PreUpGatedScaffold,
    PostUpScaffold,
    PostUpGatedScaffold,
    AdapterScaffold,
    ColumnScaffold,
)
_CLASSES: dict[type[Node], type[CompiledPart]] = {cls.config: cls for cls in (*CORES, *SCAFFOLDS, CortexStack)}


def built_in(cfg: Node, d_hidden: int) -> CompiledPart:
    """The module of a built-in config, under the name that the state gives it."""
    if type(cfg) not in _CLASSES:
        family = getattr(cfg, "family", "part")
        raise TypeError(
            f"{type(cfg).__name__} is neither built in nor registered; if it is yours: "
            f"@register_{family}({type(cfg).__name__}) on its module"
        )
    return _CLASSES[type(cfg)](cfg, d_hidden=d_hidden)

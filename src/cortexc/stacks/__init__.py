"""Stacks by call: the builders of all earlier versions. Each gives a compiled module.

`build_cortex_auto_config` and `build_column_auto_config` give configs and need no torch; it loads when a stack is
built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._renamed import moved
from ..cortex_dsl import CortexStackConfig, build_column_auto_config, build_cortex_auto_config, resolve

if TYPE_CHECKING:
    from ..runtime import CompiledStack

__all__ = ["build_column_auto_config", "build_cortex", "build_cortex_auto_config", "build_cortex_auto_stack"]

__getattr__ = moved(__name__)


def build_cortex(
    cfg: CortexStackConfig, *, backend: str = "auto", dtype: Any | None = None, device: Any | None = None
) -> CompiledStack:
    """The module of a config. Every size follows from `cfg.d_hidden`; what a core says of its own is ignored.

    Raises `CortexSpecError` with every complaint; `backend`, `dtype` and `device` as for `cortexc.compile`.
    """
    if not isinstance(cfg, CortexStackConfig):
        raise TypeError(f"expected a CortexStackConfig, got {type(cfg).__name__}")
    resolve(cfg)  # a wrong config is told before torch loads
    from ..runtime import compile as compile_stack

    return compile_stack(cfg, backend=backend, dtype=dtype, device=device)


def build_cortex_auto_stack(
    d_hidden: int,
    num_layers: int | None = None,
    pattern: Any | None = None,
    *,
    backend: str = "auto",
    dtype: Any | None = None,
    device: Any | None = None,
    **what: Any,
) -> CompiledStack:
    """The module of `build_cortex_auto_config(d_hidden, num_layers, pattern, **what)`.

    `layers=[[cell, ...], ...]`, `pattern=` with `custom_map=`, or `block_pattern=` (its letters are layers in depth)
    say what the layers are; with none of them it is `default_cells()`, four times or `num_layers` times.
    """
    if "compile_blocks" in what:
        raise TypeError("`compile_blocks=` is now called `compile_scaffolds=`")
    cfg = build_cortex_auto_config(d_hidden, num_layers, pattern, **what)
    return build_cortex(cfg, backend=backend, dtype=dtype, device=device)

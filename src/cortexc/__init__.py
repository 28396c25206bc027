"""cortexc: compile recurrent memory stacks.

    import cortexc

    stack = cortexc.compile("AXMS x4", d_hidden=256)
    y, state = stack(x, state, resets=mask)

Names load on first use, so that importing cortexc, and the command line, do not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._renamed import no_attribute

if TYPE_CHECKING:
    from .cortex_dsl import (
        AxonCoreConfig,
        CellConfig,
        CoreConfig,
        CortexSpecError,
        CortexStackConfig,
        CortexSyntaxError,
        RoutedAdapterConfig,
        RouterConfig,
        ScaffoldConfig,
        default_cells,
        parse,
        recipes,
        register_token,
    )
    from .runtime import CompiledStack, CortexInputError, CortexStateError, CortexWarning, compile, load
    from .stacks import build_column_auto_config, build_cortex, build_cortex_auto_config, build_cortex_auto_stack

_HOMES = {
    "compile": "runtime",
    "load": "runtime",
    "CompiledStack": "runtime",
    "CortexInputError": "runtime",
    "CortexLoadError": "runtime",
    "CortexStateError": "runtime",
    "CortexWarning": "runtime",
    "AxonCoreConfig": "cortex_dsl",
    "CellConfig": "cortex_dsl",
    "CoreConfig": "cortex_dsl",
    "CortexSpecError": "cortex_dsl",
    "CortexStackConfig": "cortex_dsl",
    "CortexSyntaxError": "cortex_dsl",
    "RoutedAdapterConfig": "cortex_dsl",
    "RouterConfig": "cortex_dsl",
    "ScaffoldConfig": "cortex_dsl",
    "default_cells": "cortex_dsl",
    "parse": "cortex_dsl",
    "recipes": "cortex_dsl",
    "register_token": "cortex_dsl",
    "build_column_auto_config": "stacks",
    "build_cortex": "stacks",
    "build_cortex_auto_config": "stacks",
    "build_cortex_auto_stack": "stacks",
}
# Modules that `import cortexc` alone makes reachable.
_MODULES = ("cells", "config", "stacks")

__all__ = [
    "AxonCoreConfig",
    "CellConfig",
    "CompiledStack",
    "CoreConfig",
    "CortexInputError",
    "CortexSpecError",
    "CortexStackConfig",
    "CortexStateError",
    "CortexSyntaxError",
    "CortexWarning",
    "RoutedAdapterConfig",
    "RouterConfig",
    "ScaffoldConfig",
    "build_column_auto_config",
    "build_cortex",
    "build_cortex_auto_config",
    "build_cortex_auto_stack",
    "compile",
    "default_cells",
    "load",
    "parse",
    "recipes",
    "register_token",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(no_attribute(__name__, name))
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})

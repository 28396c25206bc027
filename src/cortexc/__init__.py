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
    from .cores import AxonLayer, MemoryCore, check_core, register_core, update_parent_state
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
    from .equations import recurrence, register_recurrence
    from .runtime import (
        CheckpointInfo,
        CompiledStack,
        CortexCheckpointError,
        CortexInputError,
        CortexPartError,
        CortexStateError,
        CortexWarning,
        checkpoint_info,
        compile,
        import_checkpoint,
        load,
        load_checkpoint,
        save_checkpoint,
        set_backend,
        set_dropout_seed_,
        set_trunk_lr_mult_,
        tune,
    )
    from .scaffolds import BaseScaffold, register_scaffold
    from .stacks import build_column_auto_config, build_cortex, build_cortex_auto_config, build_cortex_auto_stack

_HOMES = {
    "AxonLayer": "cores",
    "BaseScaffold": "scaffolds",
    "MemoryCore": "cores",
    "check_core": "cores",
    "register_core": "cores",
    "register_scaffold": "scaffolds",
    "update_parent_state": "cores",
    "CortexPartError": "runtime",
    "compile": "runtime",
    "load": "runtime",
    "checkpoint_info": "runtime",
    "import_checkpoint": "runtime",
    "load_checkpoint": "runtime",
    "save_checkpoint": "runtime",
    "set_backend": "runtime",
    "set_dropout_seed_": "runtime",
    "set_trunk_lr_mult_": "runtime",
    "tune": "runtime",
    "CheckpointInfo": "runtime",
    "CortexCheckpointError": "runtime",
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
    "recurrence": "equations",
    "register_recurrence": "equations",
    "build_column_auto_config": "stacks",
    "build_cortex": "stacks",
    "build_cortex_auto_config": "stacks",
    "build_cortex_auto_stack": "stacks",
}
# Modules that `import cortexc` alone makes reachable.
_MODULES = ("cells", "config", "cores", "equations", "registry", "scaffolds", "stacks", "tokens")

__all__ = [
    "AxonCoreConfig",
    "AxonLayer",
    "BaseScaffold",
    "CellConfig",
    "CheckpointInfo",
    "CompiledStack",
    "CoreConfig",
    "CortexCheckpointError",
    "CortexInputError",
    "CortexPartError",
    "CortexSpecError",
    "CortexStackConfig",
    "CortexStateError",
    "CortexSyntaxError",
    "CortexWarning",
    "MemoryCore",
    "RoutedAdapterConfig",
    "RouterConfig",
    "ScaffoldConfig",
    "build_column_auto_config",
    "build_cortex",
    "build_cortex_auto_config",
    "build_cortex_auto_stack",
    "check_core",
    "checkpoint_info",
    "compile",
    "default_cells",
    "import_checkpoint",
    "load",
    "load_checkpoint",
    "parse",
    "recipes",
    "recurrence",
    "register_core",
    "register_recurrence",
    "register_scaffold",
    "register_token",
    "save_checkpoint",
    "set_backend",
    "set_dropout_seed_",
    "set_trunk_lr_mult_",
    "tune",
    "update_parent_state",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(no_attribute(__name__, name))
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})

"""Names of earlier versions: using one is an error that gives the new name, never a silent alias.

Some old names live on with another meaning (`mLSTMCellConfig` was a core, and is now a scaffold with a core), so a
program written for them must be changed by someone who knows which is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# What a rule below cannot know.
_IRREGULAR = {
    "MemoryCell": "MemoryCore",
    "AxonConfig": "AxonCoreConfig",
    "CausalConv1dConfig": "CausalConv1dCoreConfig",
    "BlockConfig": "ScaffoldConfig",
    "BaseBlock": "BaseScaffold",
    "CortexStack": "build_cortex",
    "blocks": "scaffolds",
    "register_cell": "register_core",
    "register_block": "register_scaffold",
}
# Modules; each that is named here has a file that raises.
_MODULES = {
    "cortexc.blocks": "`cortexc.scaffolds`, and `blocks.column.column` there `scaffolds.column`",
    "cortexc.cells.base": "`cortexc.cores.base`",
    "cortexc.cells.core": "`cortexc.cores.core`",
    "cortexc.stacks.auto": "`cortexc.stacks`",
    "cortexc.stacks.base": "`cortexc.stacks`",
}
_CORES = ("Axon", "XL", "mLSTM", "sLSTM", "LSTM", "CausalConv1d", "AGaLiTe")
_BLOCK = re.compile(r"(PassThrough|PreUp|PreUpGated|PostUp|PostUpGated|Adapter|Column)Block(Config)?")
_CELL = re.compile(rf"({'|'.join(_CORES)})Cell")
_CELL_CONFIG = re.compile(rf"({'|'.join(_CORES)})CellConfig")


def new_name(name: str) -> str | None:
    """What an old name is called now; None for a name that was never one."""
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    if found := _BLOCK.fullmatch(name):
        return f"{found[1]}Scaffold{found[2] or ''}"
    if found := _CELL.fullmatch(name):
        return f"{found[1]}Core"
    return None


def moved(module: str) -> Callable[[str], object]:
    """A `__getattr__` for a module: an old name raises with the new one."""

    def __getattr__(name: str) -> object:
        raise AttributeError(no_attribute(module, name))

    return __getattr__


def no_attribute(module: str, name: str) -> str:
    """The message for a name that a module does not have."""
    new = new_name(name)
    hint = f"; it is now called `{new}`" if new else ""
    if found := _CELL_CONFIG.fullmatch(name):
        core = found[1]
        hint = f"; the core is now called `{core}CoreConfig`, and `cortexc.cells.{core}CellConfig` is it in a scaffold"
    return f"module {module!r} has no attribute {name!r}{hint}"


def moved_module(name: str) -> ModuleNotFoundError:
    """What importing a module of an earlier version raises."""
    # Without `name=`: `from cortexc import blocks` would drop the error and raise one of its own.
    return ModuleNotFoundError(f"module {name!r} is now {_MODULES[name]}")

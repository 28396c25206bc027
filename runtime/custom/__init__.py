"""Parts of your own: torch modules which stand in patterns, configs and builders like the built-in ones."""

from .axon_layer import AxonLayer, update_parent_state
from .check import ContractReport, check_core
from .core import MemoryCore
from .register import register_core, register_scaffold
from .scaffold import BaseScaffold

__all__ = [
    "AxonLayer",
    "BaseScaffold",
    "ContractReport",
    "MemoryCore",
    "check_core",
    "register_core",
    "register_scaffold",
    "update_parent_state",
]

"""Scaffolds as modules: the built-in ones by name, and what one of your own is made of. Loads torch.

from cortexc.config import LSTMCoreConfig, PreUpScaffoldConfig
from cortexc.scaffolds import PreUpScaffold

scaffold = PreUpScaffold(PreUpScaffoldConfig(core=LSTMCoreConfig()), d_hidden=64)
y, state = scaffold(x)      # x [B, T, 64]
"""

from __future__ import annotations

from .._renamed import moved
from ..cortex_dsl import build_column_auto_config
from ..runtime.custom import BaseScaffold, register_scaffold
from ..runtime.custom.builtin import (
    AdapterScaffold,
    ColumnScaffold,
    PassThroughScaffold,
    PostUpGatedScaffold,
    PostUpScaffold,
    PreUpGatedScaffold,
    PreUpScaffold,
)

__all__ = [
    "AdapterScaffold",
    "BaseScaffold",
    "ColumnScaffold",
    "PassThroughScaffold",
    "PostUpGatedScaffold",
    "PostUpScaffold",
    "PreUpGatedScaffold",
    "PreUpScaffold",
    "build_column_auto_config",
    "register_scaffold",
]

__getattr__ = moved(__name__)

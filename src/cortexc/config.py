"""The low-level configs: cores, scaffolds, router, column, stack, adapters, tissue. Needs no torch.

from cortexc.config import CortexStackConfig, PostUpScaffoldConfig, XLCoreConfig
from cortexc.stacks import build_cortex

stack = build_cortex(CortexStackConfig(d_hidden=64, scaffolds=[PostUpScaffoldConfig(core=XLCoreConfig())]))
"""

from __future__ import annotations

from ._renamed import moved
from .cortex_dsl import (
    AdapterScaffoldConfig,
    AGaLiTeCoreConfig,
    AxonCoreConfig,
    CausalConv1dCoreConfig,
    CellConfig,
    ColumnScaffoldConfig,
    CoreConfig,
    CortexStackConfig,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    PostUpGatedScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpGatedScaffoldConfig,
    PreUpScaffoldConfig,
    RecurrenceCoreConfig,
    RoutedAdapterConfig,
    RouterConfig,
    ScaffoldConfig,
    TissueConfig,
    TissueFamilyConfig,
    TissueScaffoldConfig,
    XLCoreConfig,
    mLSTMCoreConfig,
    sLSTMCoreConfig,
)

__all__ = [
    "AGaLiTeCoreConfig",
    "AdapterScaffoldConfig",
    "AxonCoreConfig",
    "CausalConv1dCoreConfig",
    "CellConfig",
    "ColumnScaffoldConfig",
    "CoreConfig",
    "CortexStackConfig",
    "LSTMCoreConfig",
    "PassThroughScaffoldConfig",
    "PostUpGatedScaffoldConfig",
    "PostUpScaffoldConfig",
    "PreUpGatedScaffoldConfig",
    "PreUpScaffoldConfig",
    "RecurrenceCoreConfig",
    "RoutedAdapterConfig",
    "RouterConfig",
    "ScaffoldConfig",
    "TissueConfig",
    "TissueFamilyConfig",
    "TissueScaffoldConfig",
    "XLCoreConfig",
    "mLSTMCoreConfig",
    "sLSTMCoreConfig",
]

__getattr__ = moved(__name__)

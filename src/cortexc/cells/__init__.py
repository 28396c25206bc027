"""Cells: a scaffold and a core put together, ready to stand in a column. Needs no torch.

from cortexc.cells import XLCellConfig, default_cells
from cortexc.config import XLCoreConfig

layers = [default_cells(), [XLCellConfig(core=XLCoreConfig(mem_len=512))]]
"""

from __future__ import annotations

from .._renamed import moved
from ..cortex_dsl import (
    AGaLiTeCellConfig,
    AxonCellConfig,
    CausalConv1dCellConfig,
    CellConfig,
    LSTMCellConfig,
    XLCellConfig,
    default_cells,
    mLSTMCellConfig,
    sLSTMCellConfig,
)

__all__ = [
    "AGaLiTeCellConfig",
    "AxonCellConfig",
    "CausalConv1dCellConfig",
    "CellConfig",
    "LSTMCellConfig",
    "XLCellConfig",
    "default_cells",
    "mLSTMCellConfig",
    "sLSTMCellConfig",
]

__getattr__ = moved(__name__)

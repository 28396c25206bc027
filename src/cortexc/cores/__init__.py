"""Cores as modules: the built-in ones by name, and what one of your own is made of. Loads torch.

from cortexc.config import LSTMCoreConfig
from cortexc.cores import LSTMCore

core = LSTMCore(LSTMCoreConfig(hidden_size=64))
y, state = core(x)      # x [B, T, 64]
"""

from __future__ import annotations

from .._renamed import moved
from ..runtime.custom import AxonLayer, MemoryCore, check_core, register_core, update_parent_state
from ..runtime.custom.builtin import (
    AGaLiTeCore,
    AxonCore,
    CausalConv1dCore,
    LSTMCore,
    XLCore,
    mLSTMCore,
    sLSTMCore,
)

__all__ = [
    "AGaLiTeCore",
    "AxonCore",
    "AxonLayer",
    "CausalConv1dCore",
    "LSTMCore",
    "MemoryCore",
    "XLCore",
    "check_core",
    "mLSTMCore",
    "register_core",
    "sLSTMCore",
    "update_parent_state",
]

__getattr__ = moved(__name__)

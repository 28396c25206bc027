"""mLSTM: a matrix memory with exponential gates (spec: core `M`)."""

from __future__ import annotations

from .chunkwise import mlstm as mlstm
from .reference import mlstm_reference as mlstm_reference
from .step import mlstm_step as mlstm_step

"""The recurrences as equations, one file each."""

from .axon import axon
from .axon_fullrank import axon_fullrank
from .gru import gru
from .lstm import lstm
from .slstm import slstm

__all__ = ["axon", "axon_fullrank", "gru", "lstm", "slstm"]

BY_NAME = {rec.name: rec for rec in (axon, axon_fullrank, gru, lstm, slstm)}

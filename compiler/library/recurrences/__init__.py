"""The recurrences as equations, one file each."""

from .axon import axon
from .gru import gru
from .lstm import lstm
from .slstm import slstm

__all__ = ["axon", "gru", "lstm", "slstm"]

BY_NAME = {rec.name: rec for rec in (axon, gru, lstm, slstm)}

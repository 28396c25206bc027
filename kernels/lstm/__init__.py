"""LSTM with a projected output (spec: core `L`, `proj_size`)."""

from .projected import lstm_projected as lstm_projected
from .projected import lstm_projected_step as lstm_projected_step

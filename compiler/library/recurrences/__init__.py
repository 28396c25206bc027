"""The recurrences as equations, one file each; `registry` finds them by name, those of users too."""

from .agalite import agalite, agalite_called
from .axon import axon
from .axon_fullrank import axon_fullrank
from .gru import gru
from .lru import lru
from .lstm import lstm
from .mingru import mingru
from .minlstm import minlstm
from .registry import Registry
from .slstm import slstm

__all__ = ["EQUATIONS", "agalite", "axon", "axon_fullrank", "gru", "lru", "lstm", "mingru", "minlstm", "slstm"]

EQUATIONS = Registry((axon, axon_fullrank, gru, lru, lstm, mingru, minlstm, slstm), (agalite_called,))

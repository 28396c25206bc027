"""Dropout that is one mask per row and episode (spec: randomness)."""

from .counter import births, dropout_keys, dropout_keys_step, ended, is_birth
from .op import dropout, dropout_factors
from .reference import dropout_factors_reference, dropout_keys_reference, dropout_reference

__all__ = [
    "births",
    "dropout",
    "dropout_factors",
    "dropout_factors_reference",
    "dropout_keys",
    "dropout_keys_reference",
    "dropout_keys_step",
    "dropout_reference",
    "ended",
    "is_birth",
]

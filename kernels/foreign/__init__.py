"""Modules of users inside generated code."""

from .call import CortexPartError, foreign
from .tree import empty, leaves_of, packed, structure

__all__ = ["CortexPartError", "empty", "foreign", "leaves_of", "packed", "structure"]

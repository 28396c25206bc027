"""The base of cores of your own."""

from __future__ import annotations

from .._renamed import moved
from ..runtime.custom import MemoryCore

__all__ = ["MemoryCore"]

__getattr__ = moved(__name__)

"""Of earlier versions."""

from __future__ import annotations

from .._renamed import moved_module

raise moved_module(__name__)

"""The layer with memory that cores are built from."""

from __future__ import annotations

from ...runtime.custom import AxonLayer, update_parent_state

__all__ = ["AxonLayer", "update_parent_state"]

"""`AxonLayer`, a linear map with memory, and `update_parent_state`, which keeps what it wrote."""

from __future__ import annotations

from ...runtime.custom import AxonLayer, update_parent_state

__all__ = ["AxonLayer", "update_parent_state"]

"""Per-head square maps, several over one input."""

from .op import head_linear

__all__ = ["head_linear"]

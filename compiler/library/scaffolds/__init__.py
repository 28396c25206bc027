"""The scaffolds as graphs: what surrounds a core. Importing this package registers them."""

from . import column, gated, residual

__all__ = ["column", "gated", "residual"]

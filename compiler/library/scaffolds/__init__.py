"""The scaffolds as graphs: what surrounds a core. Importing this package registers them."""

from . import adapter, column, gated, nested, residual

__all__ = ["adapter", "column", "gated", "nested", "residual"]

"""The cores as graphs. Importing this package registers them."""

from . import axon, mlstm, slstm, xl

__all__ = ["axon", "mlstm", "slstm", "xl"]

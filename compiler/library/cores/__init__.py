"""The cores as graphs. Importing this package registers them."""

from . import agalite, axon, causal_conv, lstm, mlstm, slstm, xl

__all__ = ["agalite", "axon", "causal_conv", "lstm", "mlstm", "slstm", "xl"]

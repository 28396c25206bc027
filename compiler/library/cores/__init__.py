"""The cores as graphs. Importing this package registers them."""

from . import agalite, axon, causal_conv, lstm, mlstm, recurrence, slstm, xl

__all__ = ["agalite", "axon", "causal_conv", "lstm", "mlstm", "recurrence", "slstm", "xl"]

"""How a column weighs its experts."""

from .mix import column_mix, mask_experts, prior, softmax

__all__ = ["column_mix", "mask_experts", "prior", "softmax"]

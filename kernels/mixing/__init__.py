"""How a column weighs its experts."""

from .mix import column_mix, contract, mask_experts, prior, softmax

__all__ = ["column_mix", "contract", "mask_experts", "prior", "softmax"]

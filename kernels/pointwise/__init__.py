"""What generated pointwise regions run on."""

from .._triton import tl, triton
from .region import Region

__all__ = ["Region", "tl", "triton"]

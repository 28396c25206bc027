"""Subsampled randomised Hadamard transform (spec: Axon, `use_srht`)."""

from __future__ import annotations

from .reference import srht_reference as srht_reference
from .transform import srht as srht

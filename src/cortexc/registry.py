"""Names of your own in patterns: `register_token`, and the tables of what is known. Needs no torch."""

from __future__ import annotations

from ._renamed import moved
from .cortex_dsl import register_token, tokens

__all__ = ["register_token", "tokens"]

__getattr__ = moved(__name__)

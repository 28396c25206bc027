"""The built-in tokens. They are there without importing this; earlier versions asked for `import cortexc.tokens`."""

from __future__ import annotations

from .cortex_dsl import register_token, tokens

__all__ = ["register_token", "tokens"]

"""The builder of columns."""

from __future__ import annotations

from ...cortex_dsl import build_column_auto_config

__all__ = ["build_column_auto_config"]

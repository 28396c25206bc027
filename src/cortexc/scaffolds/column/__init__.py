"""Columns: experts in parallel, mixed by a router."""

from __future__ import annotations

from ...cortex_dsl import ColumnScaffoldConfig, RouterConfig, build_column_auto_config
from ...runtime.custom.builtin import ColumnScaffold

__all__ = ["ColumnScaffold", "ColumnScaffoldConfig", "RouterConfig", "build_column_auto_config"]

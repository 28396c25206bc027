"""Triton where it is installed; else stand-ins under which a generated module still loads and its torch half runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from .switches import triton_disabled

try:
    import triton
    import triton.language as tl

    AVAILABLE, VERSION = True, str(triton.__version__)
except ImportError:
    AVAILABLE, VERSION = False, "none"

    def _jit(function: Callable[..., Any] | None = None, **_: Any) -> Callable[..., Any]:
        return function if function is not None else _jit

    def _constexpr(value: Any) -> Any:
        return value

    triton = SimpleNamespace(jit=_jit)
    tl = SimpleNamespace(constexpr=_constexpr, tensor=object)

# The interpreter is chosen when Triton is imported, so this is read once too.
INTERPRETED = AVAILABLE and os.environ.get("TRITON_INTERPRET", "0") == "1"


def disabled() -> bool:
    """Whether the user switched Triton off."""
    return triton_disabled() is not None

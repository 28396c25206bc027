"""The switches that keep Triton off, in one place: the compiler's choice and the kernels' own ask the same question."""

from __future__ import annotations

import os

SWITCHES = ("CORTEXC_DISABLE_TRITON", "CORTEX_DISABLE_TRITON", "CORTEX_FORCE_PYTORCH")


def triton_disabled() -> str | None:
    """The switch that turns Triton off, if one is set (to anything but an empty text and 0)."""
    return next((s for s in SWITCHES if os.environ.get(s, "0") not in ("", "0")), None)

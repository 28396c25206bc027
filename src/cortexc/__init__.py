"""cortexc: compile recurrent memory stacks.

    import cortexc

    stack = cortexc.compile("AXMS x4", d_hidden=256)
    y, state = stack(x, state, resets=mask)

Names load on first use, so that importing cortexc, and the command line, do not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cortex_dsl import CortexSpecError, CortexStackConfig, CortexSyntaxError, parse
    from .runtime import CompiledStack, CortexInputError, CortexStateError, CortexWarning, compile, load

_HOMES = {
    "compile": "runtime",
    "load": "runtime",
    "CompiledStack": "runtime",
    "CortexInputError": "runtime",
    "CortexLoadError": "runtime",
    "CortexStateError": "runtime",
    "CortexWarning": "runtime",
    "CortexSpecError": "cortex_dsl",
    "CortexStackConfig": "cortex_dsl",
    "CortexSyntaxError": "cortex_dsl",
    "parse": "cortex_dsl",
}

__all__ = [
    "CompiledStack",
    "CortexInputError",
    "CortexSpecError",
    "CortexStackConfig",
    "CortexStateError",
    "CortexSyntaxError",
    "CortexWarning",
    "compile",
    "load",
    "parse",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'cortexc' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The files around the generated module that make it an importable package."""

from __future__ import annotations

_INIT = '''"""{pattern} — compiled by cortexc {version}. Do not edit: compile again instead.

    from {name} import Stack
    y, state = Stack()(x, state, resets=mask)      # x [B, T, {width}]
"""

from pathlib import Path

from cortexc.runtime import CompiledStack

__all__ = ["Stack", "build"]


class Stack(CompiledStack):
    """`{pattern}` at width {width}: an nn.Module that needs no arguments.

    ``Stack(backend=…, dtype=…, device=…)`` overrides what the package was compiled for.
    """

    def __init__(self, **overrides: object) -> None:
        super().__init__(Path(__file__).parent, **overrides)


def build(**overrides: object) -> Stack:
    """The same as ``Stack(**overrides)``."""
    return Stack(**overrides)
'''


def emit_package(pattern: str, name: str, width: int, version: str) -> str:
    """The text of the package's ``__init__.py``."""
    return _INIT.format(pattern=in_docstring(pattern), name=name, width=width, version=version)


def in_docstring(text: str) -> str:
    """Text that a triple-quoted string may hold: a pattern may have comments, and strings of its own."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return text.replace("{package}", "\\x7bpackage}")  # not the place that writing fills in

"""Lines of generated C++."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ..codegen.wrap import LIMIT


def at_depth(depth: int, lines: Sequence[str]) -> list[str]:
    return ["    " * depth + line for line in lines]


def broken(text: str, depth: int = 0) -> list[str]:
    """A statement, comment or signature on as many lines as it needs."""
    indent = "    " * depth
    return textwrap.wrap(
        text,
        LIMIT,
        initial_indent=indent,
        subsequent_indent=indent + ("// " if text.startswith("//") else "    "),
        break_on_hyphens=False,
        break_long_words=False,
    ) or [""]


def signature(name: str, given: Sequence[str]) -> list[str]:
    """The beginning of a function beside that of the layer."""
    return broken(f"ONCE void {name}({', '.join(['const Call& c', *given])}) {{")

"""Two specs side by side: where they differ, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MOST = 10
# How a part is computed and where a pipeline is cut; the numbers and the names are the same.
HINTS = frozenset({"chunk_size", "compile_scaffolds", "cuts"})


def spec_differences(one: Any, two: Any) -> list[str]:
    """``scaffolds[0].experts[1].core.mem_len: 128 in the file, 64 in the stack``, for at most ten fields; [] if equal.

    ``one`` and ``two`` are resolved specs as JSON. What only says how to compute is left out."""
    found = list(_walk(one, two, ""))
    rest = [f"… and {len(found) - MOST} more"] if len(found) > MOST else []
    return found[:MOST] + rest


def _walk(one: Any, two: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        if one.get("kind") != two.get("kind"):  # everything inside would differ too
            yield _line(path, one.get("kind"), two.get("kind"))
            return
        for key in dict.fromkeys((*one, *two)):
            if key not in HINTS:
                yield from _walk(one.get(key), two.get(key), f"{path}.{key}" if path else key)
    elif isinstance(one, list) and isinstance(two, list):
        if len(one) != len(two):
            yield _line(path, f"{len(one)} of them", f"{len(two)}")
        for index, (a, b) in enumerate(zip(one, two, strict=False)):
            yield from _walk(a, b, f"{path}[{index}]")
    elif one != two:
        yield _line(path, _short(one), _short(two))


def _line(path: str, one: Any, two: Any) -> str:
    return f"{path}: {one} in the file, {two} in the stack"


def _short(value: Any) -> Any:
    """A whole config by its kind; JSON's words for none and truth as Python has them."""
    return value["kind"] if isinstance(value, dict) and "kind" in value else value

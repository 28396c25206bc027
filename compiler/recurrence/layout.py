"""Long lines of generated text, broken the way black breaks them: the last bracket opens, its contents go inside."""

from __future__ import annotations

import textwrap

LIMIT = 116


def wrap(text: str) -> str:
    """`text` with every long line broken into several: bracketed lists, the targets of a call, docstrings."""
    lines: list[str] = []
    for line in text.splitlines():
        lines += _break(line) if len(line) > LIMIT else [line]
    return "\n".join(lines)


def _break(line: str) -> list[str]:
    body, _, comment = line.partition("  # ")
    indent = " " * (len(body) - len(body.lstrip()))
    if body.lstrip().startswith('"""'):
        return textwrap.wrap(line, LIMIT, subsequent_indent=indent)
    if not body.endswith((")", "]")):
        return [line]
    opening = _opening(body)
    parts = split_arguments(body[opening + 1 : -1])
    one = f"{indent}    {', '.join(parts)}"
    inner = [one] if len(one) <= LIMIT else [f"{indent}    {part}," for part in parts]
    head = [f"{body[: opening + 1]}  # {comment}" if comment else body[: opening + 1]]
    if len(head[0]) > LIMIT and " = " in head[0]:  # the targets are many too
        left, _, call = head[0].strip().partition(" = ")
        head = [f"{indent}(", *_filled(left, f"{indent}    "), f"{indent}) = {call}"]
    return [*head, *inner, f"{indent}{body[-1]}"]


def _filled(items: str, indent: str) -> list[str]:
    """A list of names over as few lines as hold it, with a comma at the end."""
    return textwrap.wrap(f"{items},", LIMIT, initial_indent=indent, subsequent_indent=indent)


def _opening(body: str) -> int:
    """Where the bracket opens that ends the line."""
    depth = 0
    for place in range(len(body) - 1, -1, -1):
        depth += (body[place] in ")]") - (body[place] in "([")
        if depth == 0:
            return place
    return 0


def split_arguments(text: str) -> list[str]:
    """Split at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [part for part in [*parts, text[start:].strip()] if part]

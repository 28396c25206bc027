"""Long lines of generated text, broken the way black breaks them: the last bracket opens, its contents go inside."""

from __future__ import annotations

LIMIT = 116


def wrap(text: str) -> str:
    """`text` with every long line that ends in a bracket broken into several."""
    lines: list[str] = []
    for line in text.splitlines():
        lines += _break(line) if len(line) > LIMIT else [line]
    return "\n".join(lines)


def _break(line: str) -> list[str]:
    body, _, comment = line.partition("  # ")
    if not body.endswith((")", "]")):
        return [line]
    opening = _opening(body)
    indent = " " * (len(body) - len(body.lstrip()))
    parts = _arguments(body[opening + 1 : -1])
    one = f"{indent}    {', '.join(parts)}"
    inner = [one] if len(one) <= LIMIT else [f"{indent}    {part}," for part in parts]
    head = f"{body[: opening + 1]}  # {comment}" if comment else body[: opening + 1]
    return [head, *inner, f"{indent}{body[-1]}"]


def _opening(body: str) -> int:
    """Where the bracket opens that ends the line."""
    depth = 0
    for place in range(len(body) - 1, -1, -1):
        depth += (body[place] in ")]") - (body[place] in "([")
        if depth == 0:
            return place
    return 0


def _arguments(text: str) -> list[str]:
    """Split at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [part for part in [*parts, text[start:].strip()] if part]

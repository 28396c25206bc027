"""Long statements on several lines: generated code is meant to be read."""

from __future__ import annotations

LIMIT = 110
INDENT = " " * 4


def wrap(statement: str, depth: int = 1, end: str = "") -> list[str]:
    """The lines of ``left = right`` (or of an expression) at an indentation of ``depth``. What does not fit on one
    line is
    broken inside its outermost bracket; items share lines as far as they fit."""
    if end:
        lines = wrap(statement, depth)
        return [*lines[:-1], lines[-1] + end]
    if _fits(statement, depth):
        return [INDENT * depth + statement]
    at = _top_level(statement, " = ")
    left, right = (statement[:at], statement[at + 3 :]) if at >= 0 else ("", statement)
    if len(left) > LIMIT // 2:
        if left.startswith("(") and len(_split(left)) == 1:
            left = left[1:-1]  # one tuple: its brackets are the ones that get broken
        return [INDENT * depth + "(", *_filled(left, depth + 1), *_expression(f") = {right}", depth, skip=4)]
    return _expression(statement, depth, skip=at + 3 if at >= 0 else 0)


def _expression(text: str, depth: int, skip: int) -> list[str]:
    """``text`` broken at its outermost bracket after position ``skip``."""
    opening = text.find("(", skip)
    if _fits(text, depth) or opening < 0 or not text.endswith(")"):
        return [INDENT * depth + text]
    return [INDENT * depth + text[: opening + 1], *_filled(text[opening + 1 : -1], depth + 1), INDENT * depth + ")"]


def _filled(body: str, depth: int) -> list[str]:
    """Comma-separated items, as many to a line as fit; an item that fits on no line is broken itself."""
    lines: list[str] = []
    for item in _split(body):
        if lines and _fits(f"{lines[-1].strip()} {item},", depth) and not lines[-1].endswith("),"):
            lines[-1] += f" {item},"
        else:
            broken = wrap(item, depth)
            broken[-1] += ","
            lines += broken
    return lines


def _fits(text: str, depth: int) -> bool:
    return len(INDENT) * depth + len(text) <= LIMIT


def _split(body: str) -> list[str]:
    """The items between commas that stand in no bracket."""
    items: list[str] = []
    while (at := _top_level(body, ",")) >= 0:
        items.append(body[:at].strip())
        body = body[at + 1 :]
    return [item for item in (*items, body.strip()) if item]


def _top_level(text: str, what: str) -> int:
    """Where ``what`` first stands outside of all brackets; -1 if nowhere."""
    level = 0
    for i, ch in enumerate(text):
        if level == 0 and text.startswith(what, i):
            return i
        level += (ch in "([{") - (ch in ")]}")
    return -1

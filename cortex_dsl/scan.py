"""A tolerant scanner: cuts any text into pieces, so that mistakes can be found beside each other.

The grammar decides what is right; this only looks for what is known to go wrong. Editors use the same pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PIECES = (
    ("string", r'"(?:[^"\\\n]|\\[^\n])*"'),
    ("open_string", r'"[^\n]*'),
    ("comment", r"#[^\n]*"),
    ("newline", r"\r?\n"),
    ("space", r"[ \t]+"),
    ("dims", r"[0-9]+x[0-9]+(?:x[0-9]+)?"),
    ("repeat", r"[x×][1-9][0-9]*"),
    ("bad_repeat", r"[x×]0[0-9]*|×"),
    ("word", r"(?!x[0-9])[A-Za-z_](?:(?!x[0-9])[A-Za-z0-9_^])*"),
    ("number", r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"),
    ("punct", r"[()\[\]{}/|,:=@*.]"),
    ("bad", r"[\s\S]"),
)
_SCANNER = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in PIECES))


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a text."""

    kind: str
    text: str
    start: int
    # White space stands before it (on the same line).
    spaced: bool

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def pieces(text: str) -> Iterator[Piece]:
    """All pieces but white space and comments."""
    spaced = False
    for match in _SCANNER.finditer(text):
        kind = match.lastgroup or "bad"
        if kind in ("space", "comment"):
            spaced = True
            continue
        yield Piece(kind, match.group(), match.start(), spaced)
        spaced = False


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Each comment with its offset."""
    for match in _SCANNER.finditer(text):
        if match.lastgroup == "comment":
            yield match.start(), match.group()

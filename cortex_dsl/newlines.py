"""The new-line rule: dropped inside brackets and after `/` or `|`, kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_OPEN = {"LPAR", "LSQB", "LBRACE", "_CALL"}
_CLOSE = {"RPAR", "RSQB", "RBRACE"}


class NewLines:
    """A Lark post-lexer. It must not look ahead: the contextual lexer depends on the parser having seen each token."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[Any]) -> Iterator[Any]:
        depth, after_separator = 0, False
        for token in stream:
            if token.type == "_NL" and (depth > 0 or after_separator):
                continue
            depth += (token.type in _OPEN) - (token.type in _CLOSE)
            after_separator = token.type == "SEP"
            yield token

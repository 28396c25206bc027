"""Text to tree, with every syntax complaint of the text at once."""

from __future__ import annotations

from typing import Any

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from . import ast
from .diagnostics import Diagnostic
from .limits import MAX_ERRORS
from .mistakes import find_mistakes, limit_problem
from .newlines import NewLines
from .scan import pieces
from .spans import Source, Span
from .treebuild import TreeBuilder

# Stands for a layer that could not be read, while the rest of the text is checked.
UNREADABLE = "_"

_HUMAN = {
    "WORD": "a name",
    "REPEAT": "a repeat such as `x4`",
    "SEP": "`/`",
    "INT": "a number",
    "NUMBER": "a number",
    "STRING": "a string",
    "DIMS": "a size such as `32x32`",
    "_NL": "a new line",
    "$END": "the end",
    "_CALL": "`(`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "EQUAL": "`=`",
    "COMMA": "`,`",
    "COLON": "`:`",
    "DOT": "`.`",
    "STAR": "`*`",
    "AT": "`@`",
}
_PARSERS: list[Any] = []


def lark_parser() -> Any:
    """The parser, from the table in the package; built from the grammar where the table does not fit this Lark."""
    if not _PARSERS:
        import lark  # this and the table wait for the first text: a spec from configs needs neither

        from . import _table

        if lark.__version__.split(".")[:2] == _table.LARK.split(".")[:2]:
            options = {"postlex": NewLines(), "propagate_positions": True}
            _PARSERS.append(Lark._load_from_dict(_table.DATA, _table.MEMO, **options))
        else:
            from .grammar_build import build, grammar_text

            _PARSERS.append(build(grammar_text()))
    return _PARSERS[0]


class Reading:
    """One text being read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []

    def program(self) -> ast.Program | None:
        """The tree, as far as it could be read; complaints are in `diagnostics`."""
        if problem := limit_problem(self.source):
            self.diagnostics.append(problem)
            return None
        text = self.source.text
        findings = find_mistakes(self.source)
        self.diagnostics += [f.diagnostic for f in findings]
        for finding in findings:
            if finding.repair is not None:
                at, instead = finding.repair
                text = text[:at] + instead + text[at + len(instead) :]
        if any(f.fatal for f in findings):
            return None
        return self._recovering("program", text)

    def part(self, start: str, offset: int, text: str) -> Any:
        """A string inside the text that holds a column or a tissue."""
        try:
            tree = lark_parser().parse(text, start=start)
        except UnexpectedInput as error:
            at = min(getattr(error, "pos_in_stream", None) or 0, len(text))
            span = Span(self.source, offset + at, offset + max(at + 1, 1))
            self.diagnostics.append(self._unexpected(error, span, text))
            span = Span(self.source, offset, offset + len(text))
            cell = ast.Cell(name=UNREADABLE, args=None, wraps=(), copies=1, name_span=span, span=span)
            return ast.Column(cells=(cell,), router=None, span=span) if start == "column" else None
        return TreeBuilder(self.source, self.part, offset).build(tree)

    def _recovering(self, start: str, text: str) -> Any:
        # Each turn reads the whole text again: a large one gets fewer turns.
        for _ in range(min(MAX_ERRORS, 2 + 100_000 // (len(text) + 1))):
            try:
                tree = lark_parser().parse(text, start=start)
            except UnexpectedInput as error:
                at = _position(error, text)
                width = len(error.token) if isinstance(error, UnexpectedToken) else 1
                span = Span(self.source, at, min(at + max(width, 1), len(text)))
                self.diagnostics.append(self._unexpected(error, span, text))
                smaller = _without_segment(text, at)
                if smaller == text:
                    return None
                text = smaller
            else:
                return TreeBuilder(self.source, self.part).build(tree)
        return None

    def _unexpected(self, error: UnexpectedInput, span: Span, text: str) -> Diagnostic:
        expected: set[str] = set()
        if isinstance(error, UnexpectedToken):
            # `accepts` is what could truly come next; `expected` also lists what a reduction would refuse.
            expected = set(error.accepts or error.expected)
        elif isinstance(error, UnexpectedCharacters):
            expected = set(error.allowed or ())
        names = sorted({_HUMAN.get(name, f"`{name.lower()}`") for name in expected - {"_NL", "$END"}})
        found = span.text.strip()
        if (isinstance(error, UnexpectedToken) and error.token.type == "$END") or not found:
            message, label = "the text ends too early", "something is missing here"
        else:
            message, label = f"unexpected `{found[:40]}`", "not understood here"
        notes = (f"expected {', '.join(names)}",) if names else ()
        return Diagnostic("E102", message, span, label, notes)


def _position(error: UnexpectedInput, text: str) -> int:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return len(text.rstrip())
    return min(getattr(error, "pos_in_stream", None) or 0, len(text))


def _without_segment(text: str, at: int) -> str:
    """`text` with the layer or statement around `at` blanked out; nothing moves."""
    depth, start, end, line_start = 0, 0, len(text), 0
    for piece in pieces(text):
        depth += (piece.text in ("(", "[", "{")) - (piece.text in (")", "]", "}"))
        if depth == 0 and (piece.kind == "newline" or piece.text in ("/", "|")):
            if piece.start >= at and piece.end > at:
                end = piece.start
                break
            start = piece.end
            if piece.kind == "newline":
                line_start = start
    segment = text[start:end]
    blank = "".join(ch if ch == "\n" else " " for ch in segment)
    first = len(segment) - len(segment.lstrip())
    placeholder = blank[:first] + UNREADABLE + blank[first + 1 :]
    if segment.strip() and segment.strip() != UNREADABLE and start > line_start:
        return text[:start] + placeholder + text[end:]
    if end < len(text) and text[end] in "/|" and segment.strip() not in ("", UNREADABLE):
        return text[:start] + placeholder + text[end:]
    return text[:start] + blank + text[end:]

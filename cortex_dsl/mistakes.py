"""The mistakes that people make, found in the pieces of a text, with the fix for each.

Each finding also says how to blank the mistake out without moving anything, so that the rest can still be checked.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from .diagnostics import Diagnostic, Fix
from .limits import MAX_DIGITS, MAX_ERRORS, MAX_LAYERS, MAX_NESTING, MAX_TEXT
from .scan import Piece, pieces
from .spans import Source, Span

# Letters of other alphabets that look like our tokens.
_LOOK_ALIKES = dict(zip("АМХЅСАΑΜΧϹ", "AMXSCAAMXC", strict=True))
_CLOSER = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Finding:
    """A complaint, and the same-length text to put in its place for the rest of the check."""

    diagnostic: Diagnostic
    repair: tuple[int, str] | None = None
    # The structure of the text is unknown after this one.
    fatal: bool = False


def limit_problem(source: Source) -> Diagnostic | None:
    """The one check to make before anything reads the text."""
    if len(source.text) > MAX_TEXT:
        message = f"the text has {len(source.text)} characters, the limit is {MAX_TEXT}"
        return Diagnostic("E601", message, help="use repeats such as `AXMS x100`, or split the text with `include`")
    return None


def find_mistakes(source: Source) -> list[Finding]:
    """All known mistakes of a text, in order."""
    found = list(pieces(source.text))
    findings: list[Finding] = []
    for look in (_characters, _brackets, _neighbours):
        findings.extend(islice(look(source, found), MAX_ERRORS))
    if any(f.diagnostic.code == "E109" for f in findings):
        # Inside an open string a bracket may be text.
        findings = [f for f in findings if f.diagnostic.code not in ("E104", "E105")]
    separators = [p for p in found if p.text in ("/", "|")]
    if len(separators) >= MAX_LAYERS:
        extra = separators[MAX_LAYERS - 1]
        message = f"more than {MAX_LAYERS} layers are written out"
        help_ = "use a repeat such as `AXMS x100`"
        span = Span(source, extra.start, extra.end)
        findings.append(Finding(Diagnostic("E603", message, span, "one too many", help=help_), fatal=True))
    return sorted(findings, key=lambda f: f.diagnostic.span.start if f.diagnostic.span else 0)


def _characters(source: Source, found: list[Piece]) -> Iterator[Finding]:
    for piece in found:
        span = Span(source, piece.start, piece.end)
        if piece.kind == "bad":
            yield Finding(_bad_character(piece.text, span), (piece.start, " "))
        elif piece.kind == "open_string":
            # Closing brackets at the end of the line are not meant as text.
            inside = piece.text.rstrip("\r)]} \t").rstrip("\\")
            end = piece.start + len(inside)
            fix = Fix(Span(source, end, end), '"')
            message = "this string is never closed"
            diagnostic = Diagnostic("E109", message, span, "opened here", help='close it with `"`', fix=fix)
            yield Finding(diagnostic, fatal=True)
        elif piece.kind == "bad_repeat":
            help_ = "write `x1` or more, or leave the layer out"
            label = "expected a count from 1"
            fix = Fix(span, "x1")
            diagnostic = Diagnostic("E108", "a repeat counts from 1", span, label, help=help_, fix=fix)
            yield Finding(diagnostic, (piece.start, " " * len(piece.text)))
        elif piece.kind in ("number", "repeat", "dims") and _digits(piece.text) > MAX_DIGITS:
            message = f"this number has more than {MAX_DIGITS} digits"
            size = max(len(piece.text) - 1, 1)
            repair = {"repeat": "x1", "dims": "1x1"}.get(piece.kind, "1")
            diagnostic = Diagnostic("E603", message, span, "too large")
            yield Finding(diagnostic, (piece.start, repair + " " * (size + 1 - len(repair))))


def _digits(text: str) -> int:
    # A float may have many decimals; its size is what counts.
    parts = text.lstrip("-x×").replace("x", " ").split()
    return max((len(p) for p in parts), default=0) if "." not in text and "e" not in text.lower() else len(text) // 4


def _bad_character(char: str, span: Span) -> Diagnostic:
    name = unicodedata.name(char, f"U+{ord(char):04X}")
    shown = f"`{char}`" if char.isprintable() else f"U+{ord(char):04X}"
    plain = _LOOK_ALIKES.get(char) or unicodedata.normalize("NFKC", char)
    if plain != char and plain.isascii() and plain.isprintable():
        help_, fix = f"write the plain `{plain}`", Fix(span, plain)
        return Diagnostic("E101", f"unexpected character {shown}", span, name, help=help_, fix=fix)
    fix = Fix(span, "")
    return Diagnostic("E101", f"unexpected character {shown}", span, name, help="remove it", fix=fix)


def _brackets(source: Source, found: list[Piece]) -> Iterator[Finding]:
    opened: list[Piece] = []
    for piece in found:
        span = Span(source, piece.start, piece.end)
        if piece.kind != "punct":
            continue
        if piece.text in _CLOSER:
            opened.append(piece)
            if len(opened) == MAX_NESTING + 1:
                message = f"brackets are nested deeper than {MAX_NESTING}"
                help_ = "give the inner part a name with `let` or `stack`"
                yield Finding(Diagnostic("E602", message, span, "one too many", help=help_), fatal=True)
                return
        elif piece.text in _CLOSER.values():
            if not opened:
                fix = Fix(span, "")
                message = f"`{piece.text}` closes nothing"
                help_ = "remove it"
                yield Finding(
                    Diagnostic("E105", message, span, "no bracket is open here", help=help_, fix=fix), fatal=True
                )
                continue
            last = opened.pop()
            if _CLOSER[last.text] != piece.text:
                right = _CLOSER[last.text]
                message = f"`{last.text}` is closed by `{piece.text}`"
                help_ = f"write `{right}`"
                note = (f"opened at {Span(source, last.start, last.end)}",)
                fix = Fix(span, right)
                label = f"expected `{right}`"
                yield Finding(Diagnostic("E104", message, span, label, note, help_, fix), fatal=True)
    for piece in opened[::-1]:
        end = len(source.text.rstrip())
        closing = _CLOSER[piece.text]
        fix = Fix(Span(source, end, end), closing)
        span = Span(source, piece.start, piece.end)
        message = f"`{piece.text}` is never closed"
        help_ = f"add `{closing}`"
        yield Finding(Diagnostic("E104", message, span, "opened here", help=help_, fix=fix), fatal=True)


def _neighbours(source: Source, found: list[Piece]) -> Iterator[Finding]:
    """Mistakes that two or three pieces beside each other give away."""
    before: list[Piece] = []  # significant pieces on this line, so far
    depth = 0
    end = max((i for i, p in enumerate(found) if p.kind != "newline"), default=0)
    for i, piece in enumerate(found):
        if piece.kind == "newline":
            before = []
            continue
        after = found[i + 1] if i + 1 < len(found) else None
        last = before[-1] if before else None
        if piece.kind == "repeat" and last is not None and last.kind == "repeat":
            yield _double_repeat(source, before, last, piece)
        if piece.text == "(" and piece.spaced and last is not None and last.kind == "word" and _is_call(found, i):
            yield _apart(source, last, piece)
        if piece.text in ("/", "|") and piece.kind == "punct":
            yield from _lone_separator(source, found, i, last, after, end, inside=depth > 0)
        depth += (piece.text in _CLOSER) - (piece.text in _CLOSER.values())
        before.append(piece)


def _double_repeat(source: Source, before: list[Piece], last: Piece, piece: Piece) -> Finding:
    start, depth = last.start, 0
    for p in reversed(before[:-1]):
        depth += (p.text in (")", "]", "}")) - (p.text in ("(", "[", "{"))
        if depth < 0 or (depth == 0 and p.text in ("/", "|", "=")):
            break
        start = p.start
    product = "x?"
    digits = last.text[1:], piece.text[1:]
    if max(map(len, digits)) <= MAX_DIGITS:
        product = f"x{int(digits[0]) * int(digits[1])}"
    grouped = f"({source.text[start : last.end]}) {piece.text}"
    fix = Fix(Span(source, start, piece.end), grouped)
    span = Span(source, piece.start, piece.end)
    help_ = f"write `{product}`, or group it: `{grouped}`"
    label = "this layer already has a repeat"
    diagnostic = Diagnostic("E103", "a repeat cannot be repeated", span, label, help=help_, fix=fix)
    return Finding(diagnostic, (piece.start, " " * len(piece.text)))


def _is_call(found: list[Piece], at: int) -> bool:
    """Do the pieces after the bracket at `at` look like arguments, not layers?"""
    if at + 1 >= len(found):
        return False
    first = found[at + 1]
    second = found[at + 2] if at + 2 < len(found) else None
    return first.kind == "number" or (first.kind == "word" and second is not None and second.text == "=")


def _apart(source: Source, name: Piece, bracket: Piece) -> Finding:
    depth, end = 0, len(source.text)
    for p in pieces(source.text[bracket.start : bracket.start + 200]):
        depth += (p.text == "(") - (p.text == ")")
        if depth == 0:
            end = bracket.start + p.end
            break
    joined = name.text + source.text[bracket.start : min(end, bracket.start + 60)]
    span = Span(source, bracket.start, bracket.end)
    fix = Fix(Span(source, name.end, bracket.start), "")
    message = "arguments must touch the name they belong to"
    label = "a space before `(` starts a new group of layers"
    diagnostic = Diagnostic("E106", message, span, label, help=f"remove the space: `{joined}`", fix=fix)
    gap = bracket.start - name.end
    # The name moves right by the gap, so that everything after the bracket keeps its place.
    return Finding(diagnostic, (name.start, " " * gap + name.text))


def _lone_separator(
    source: Source, found: list[Piece], i: int, last: Piece | None, after: Piece | None, end: int, *, inside: bool
) -> Iterator[Finding]:
    piece = found[i]
    span = Span(source, piece.start, piece.end)
    repair = (piece.start, " ")
    if (last is None and not inside) or (last is not None and (last.text in ("/", "|", "(") or last.text == "=")):
        where, label = "before", "no layer stands before it"
    elif after is None or after.text == ")" or i >= end:
        where, label = "after", "no layer stands after it"
    else:
        return
    message = f"a layer is missing {where} `{piece.text}`"
    fix = Fix(span, "")
    help_ = "remove it"
    if last is None and i > 0 and found[i - 1].kind == "newline":
        help_ = f"remove it; to go on over a new line, end the line before with `{piece.text}`"
    yield Finding(Diagnostic("E107", message, span, label, help=help_, fix=fix), repair)

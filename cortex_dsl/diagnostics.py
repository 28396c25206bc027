"""One object for every complaint: it renders as text or JSON and is carried by the exceptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .spans import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Fix:
    """Text to put in place of a span; applying it mends the complaint."""

    span: Span
    replacement: str

    def apply(self, text: str) -> str:
        """`text` with the fix made."""
        return text[: self.span.start] + self.replacement + text[self.span.end :]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A coded complaint: one general message, a short label at the span, notes and a help line."""

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str | None = None
    fix: Fix | None = None
    # Where in the spec, for complaints about configs: `scaffolds[1].experts[0].core`.
    path: str | None = None

    @property
    def severity(self) -> Severity:
        return "warning" if self.code.startswith("W") else "error"

    def render(self) -> str:
        """The text form, in the manner of a compiler."""
        lines = [f"{self.severity}[{self.code}]: {self.message}"]
        gutter = ""
        if self.span is not None:
            line, column = self.span.source.position(self.span.start)
            text, column = _window(self.span.source.line(line), column)
            room = max(len(text) - column + 1, 1)
            carets = "^" * min(max(self.span.end - self.span.start, 1), room)
            gutter = " " * len(str(line))
            lines += [
                f"{gutter}--> {self.span.source.name}:{self.span}",
                f"{gutter} |",
                f"{line} | {_printable(text)}".rstrip(),
                f"{gutter} | {' ' * (column - 1)}{carets} {self.label}".rstrip(),
            ]
        elif self.path is not None:
            lines.append(f" --> {self.path}")
        notes = [f"{gutter} = note: {note}" for note in self.notes]
        helps = [f"{gutter} = help: {self.help}"] if self.help else []
        # A concrete fix is what the reader wants first; general advice reads better after the facts.
        lines += helps + notes if self.fix else notes + helps
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every part; lines and columns count from 1."""
        where: dict[str, Any] | None = None
        if self.span is not None:
            source = self.span.source
            line, column = source.position(self.span.start)
            end_line, end_column = source.position(self.span.end)
            where = {"source": source.name, "start": self.span.start, "end": self.span.end}
            where |= {"line": line, "column": column, "end_line": end_line, "end_column": end_column}
        fix = self.fix and {
            "start": self.fix.span.start,
            "end": self.fix.span.end,
            "replacement": self.fix.replacement,
        }
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "label": self.label,
            "where": where,
            "path": self.path,
            "notes": list(self.notes),
            "help": self.help,
            "fix": fix,
        }


def _window(text: str, column: int, width: int = 120) -> tuple[str, int]:
    """At most `width` characters of a line around the column, and the column in them."""
    if len(text) <= width:
        return text, column
    start = max(0, min(column - 1 - width // 2, len(text) - width))
    return text[start : start + width], column - start


def _printable(text: str) -> str:
    # Tabs and control characters would move the caret.
    return "".join(ch if ch.isprintable() else " " if ch == "\t" else "\N{REPLACEMENT CHARACTER}" for ch in text)


def render_all(diagnostics: Iterable[Diagnostic]) -> str:
    """All complaints as text, a blank line between them."""
    return "\n\n".join(d.render() for d in diagnostics)


class CortexWarning(UserWarning):
    """A coded warning, raised through `warnings`."""


class CortexSyntaxError(SyntaxError):
    """A text that is not a pattern. Holds every complaint found in it."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        first = self.diagnostics[0]
        message = f"[{first.code}] {first.message}"
        if first.span is None:
            super().__init__(message)
        else:
            source = first.span.source
            line, column = source.position(first.span.start)
            end_line, end_column = source.position(first.span.end)
            super().__init__(message, (source.name, line, column, source.line(line), end_line, end_column))
        for note in (*first.notes, *([first.help] if first.help else ())):
            self.add_note(note)
        for other in self.diagnostics[1:]:
            self.add_note(other.render())

    def __str__(self) -> str:
        return render_all(self.diagnostics)

    def __reduce__(self) -> tuple[type[CortexSyntaxError], tuple[tuple[Diagnostic, ...]]]:
        return CortexSyntaxError, (self.diagnostics,)


class CortexSpecError(ValueError):
    """A spec that cannot be built. Holds every complaint found in it."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(render_all(self.diagnostics))

    def __reduce__(self) -> tuple[type[CortexSpecError], tuple[tuple[Diagnostic, ...]]]:
        return CortexSpecError, (self.diagnostics,)

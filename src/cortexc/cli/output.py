"""How every verb speaks: exit codes, JSON documents, plain text that is never cut."""

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Any

import typer


class ExitCode(IntEnum):
    """What the shell sees. Part of the contract: scripts depend on it."""

    OK = 0
    USER_ERROR = 1
    USAGE = 2
    CHECK_FAILED = 3  # a numeric comparison was out of tolerance
    REGRESSION = 4  # slower than the baseline allows
    INTERNAL = 5


class UserError(Exception):
    """Something the user can mend: one sentence, and a hint that works."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def emit_json(verb: str, document: Mapping[str, Any], *, version: int = 1) -> None:
    """Prints the document of a verb; `schema` names its shape and rises when that changes."""
    sys.stdout.write(json.dumps({"schema": f"cortexc.{verb}/{version}", **document}, indent=2, default=str) + "\n")


def terminal_width() -> int | None:
    """Columns of the terminal, or None when the output goes to a file or a pipe and may be as wide as it likes."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(line: str = "", *, style: str | None = None, error: bool = False) -> None:
    """Prints a line as it is: no markup, no highlighting, no cut; colour on a terminal, never with NO_COLOR."""
    stream = sys.stderr if error else sys.stdout
    if style is None or not stream.isatty():
        stream.write(line + "\n")
        return
    from rich.console import Console  # a twentieth of a second that plain text does not wait for

    Console(stderr=error).print(line, style=style, markup=False, highlight=False, soft_wrap=True, emoji=False)


def say_field(label: str, text: str, *, label_width: int = 9, error: bool = False) -> None:
    """Prints `label    text`; on a terminal long text goes on below its beginning, and words stay whole."""
    width = terminal_width()
    indent = " " * label_width
    lines = [text] if width is None else wrap(text, max(width - label_width, 20))
    say(f"{label:<{label_width}}{lines[0]}", error=error)
    for line in lines[1:]:
        say(indent + line, error=error)


def wrap(text: str, width: int) -> list[str]:
    """Breaks at spaces only: a path or a kernel's name stays whole even when it is wider than the line."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def size_text(count: int) -> str:
    """Bytes as B, KiB, MiB or GiB."""
    if count < 1024:
        return f"{count} B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024 or unit == "GiB":
            break
    return f"{size:,.1f} {unit}"


def count_text(count: int) -> str:
    """A count with a decimal prefix: 812, 4.10 K, 2.36 M."""
    if count < 1000:
        return str(count)
    size = float(count)
    for prefix in ("K", "M", "G", "T"):
        size /= 1000
        if size < 1000 or prefix == "T":
            break
    return f"{size:.2f} {prefix}"

"""`cortexc fmt`: the canonical spelling, of patterns on stdout and of files in place."""

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from .output import ExitCode, JsonFlag, UserError, emit_json, say
from .source import PatternsArgument, PatternText, pattern_text


def fmt(
    patterns: PatternsArgument,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if anything would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Print the canonical form of a pattern; rewrite .cortex files in place.

    Only the spelling changes: definitions, groups and comments stay, and the stack that the text means is the same.
    """
    texts = [pattern_text(argument) for argument in patterns]
    # All are formatted before any is written: a mistake in one file leaves every file as it was.
    results = [_formatted(text) for text in texts]
    changed = [result["changed"] for result in results]
    quiet = check or diff
    for text, result in zip(texts, results, strict=True):
        if diff:
            if not json_output:
                _print_diff(text, result["text"])
        elif check:
            if result["changed"] and not json_output:
                say(f"would reformat {text.source if text.is_file else text.strip()}", error=True)
        elif text.is_file:
            if result["changed"]:
                _write(Path(text.source), result["text"])
                say(f"reformatted {text.source}", error=True)
        elif not json_output:
            say(result["text"].rstrip("\n"))
    if json_output:
        emit_json("fmt", {"changed": any(changed), "results": results})
    if quiet and check and any(changed):
        raise typer.Exit(ExitCode.USER_ERROR)


def _formatted(text: PatternText) -> dict[str, Any]:
    from ..cortex_dsl import format_text, recipe_text
    from ..cortex_dsl.spans import Source

    shown = recipe_text(Source(text.source, str(text)))
    canonical = format_text(shown.text, source=shown.name)
    before = str(text)
    if text.is_file:
        canonical = canonical.rstrip("\n") + "\n"
    else:
        # A pattern is compared as a line: the shell decides about its last new line.
        before, canonical = before.strip("\n"), canonical.strip("\n")
    return {"source": text.source, "text": canonical, "changed": canonical != before}


def _print_diff(text: PatternText, canonical: str) -> None:
    before = str(text) if text.is_file else text.strip("\n") + "\n"
    after = canonical.rstrip("\n") + "\n"
    name = text.source
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, f"{name} (canonical)")
    for line in lines:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[0])
        say(line.rstrip("\n"), style=style)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error

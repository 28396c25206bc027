"""The pages about the language say what is so: every example is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cortexc.cli.app import app
from cortexc.cortex_dsl import check, default_registry, format_text, limits, parse, tokens
from cortexc.cortex_dsl.codes_page import markdown

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "language.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PATTERNS = [(about, text) for kind, about, text in FENCES if kind == "cortex"]
COMMANDS = [line for kind, _, text in FENCES if kind == "sh" for line in text.splitlines()]


@pytest.mark.parametrize(("about", "text"), PATTERNS)
def test_pattern(about: str, text: str) -> None:
    """K9 K10 K11 K16: each example parses without a complaint, or has the code that it is said to have."""
    codes = [d.code for d in check(text, d_hidden=256)]
    assert codes == ([about.removeprefix("error=")] if about.startswith("error=") else [])


def test_table_of_patterns() -> None:
    """K9: the first column of the first table parses."""
    cells = re.findall(r"^\| (`.*?) \| ", PAGE.split("## Tokens")[0], re.MULTILINE)
    patterns = [p.replace("\\|", "|") for cell in cells for p in re.findall(r"`([^`]+)`", cell)]
    assert len(patterns) >= 9
    for pattern in patterns:
        assert check(pattern, d_hidden=64) == []
    assert [d.code for d in check("AXMS AM^S")] == ["E203"]


def test_table_of_tokens() -> None:
    """K1 K2 K3 K4 K5 K6 K7 K8: the table names every built-in token, with the flags its caret sets."""
    table = PAGE.split("## Tokens")[1].split("\n\n")[1]
    rows = [line.split("|")[1:-1] for line in table.splitlines()[2:]]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(named) == sorted(t.name for t in tokens() if t.built_in)
    for row in rows:
        for name in re.findall(r"`([^`]+\^)`", row[0]):
            core = parse(name).scaffolds[0].experts[0].core
            assert re.findall(r"`(\w+)`", row[3]) == list(type(core).axon_flags)


def test_python() -> None:
    """The program of the page runs."""
    (program,) = [text for kind, _, text in FENCES if kind == "python"]
    try:
        exec(compile(program, "language.md", "exec"), {})
    finally:
        default_registry().remove("Long")


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command line does what it says, with exit code 0."""
    monkeypatch.chdir(tmp_path)
    for about, text in PATTERNS:
        if about.startswith("file="):
            Path(about.removeprefix("file=")).write_text(text, encoding="utf-8")
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert done.stdout


def test_error_example() -> None:
    """The error on the page is the error."""
    (shown,) = [text for kind, _, text in FENCES if not kind]
    assert check("AX(mem_length=64)MS")[0].render() == shown.rstrip("\n")


def test_limits() -> None:
    """The bounds on the page are the bounds."""
    line = re.search(r"\(([\d,]+) characters, ([\d,]+) layers, (\d+) nested", PAGE)
    assert line is not None
    said = [int(n.replace(",", "")) for n in line.groups()]
    assert said == [limits.MAX_TEXT, limits.MAX_LAYERS, limits.MAX_NESTING]


def test_file_survives_the_formatter() -> None:
    """The file of the page means the same after `cortexc fmt`."""
    text = next(text for about, text in PATTERNS if about.startswith("file="))
    assert parse(format_text(text)) == parse(text)


def test_codes_page_is_fresh() -> None:
    """`docs/codes.md` is what the codes say."""
    assert (DOCS / "codes.md").read_text(encoding="utf-8") == markdown()

"""The table of `compile`: folded, whole when piped, inside 80 columns on a terminal."""

import json
import re

import pytest

from cortexc.cli.output import count_text, size_text
from cortexc.cli.table import Column, lay_out

ARGS = ("compile", "AXMS x4", "--d-hidden", "256")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_piped_table_is_whole(piped):
    done = piped(*ARGS, COLUMNS="40")
    assert done.code == 0, done.err
    heading = next(line for line in done.out.splitlines() if line.startswith("layer"))
    for title in ("token", "core", "scaffold", "width", "params", "state/seq", "FLOP/token", "kernel", "why"):
        assert title in heading
    assert done.out.count("0-3 x4") == 1
    assert "20,577,320" in done.out
    assert "1,182,592" in done.out
    assert "…" not in done.out
    assert "\x1b" not in done.out


def test_table_fits_80_columns(on_terminal, piped):
    done = on_terminal(*ARGS)
    assert done.code == 0, done.out
    plain = ANSI.sub("", done.out)
    assert plain != done.out  # a terminal has colour or weight
    assert max(len(line) for line in plain.splitlines()) <= 80
    assert "20,577,320" in plain
    assert "…" not in plain
    words = {word for line in piped(*ARGS).out.splitlines() for word in line.split() if not word[0].isdigit()}
    assert {word for word in plain.split() if word.isalpha()} <= words


def test_wide_terminal_shows_every_column(on_terminal):
    heading = next(line for line in ANSI.sub("", on_terminal(*ARGS, columns=200).out).splitlines() if "kernel" in line)
    assert heading.split()[-2:] == ["kernel", "why"]


def test_columns_that_left_are_told_below(on_terminal, piped):
    """On a narrow terminal nothing that the reader needs is lost: kernel and reason stand under the table."""
    narrow = " ".join(ANSI.sub("", on_terminal(*ARGS).out).split())
    document = json.loads(piped(*ARGS, "--json").out)
    for row in document["report"]["rows"]:
        name = row["token"] or row["core"] or row["scaffold"]
        assert f"{name} {row['kernel']}: {row['why']}" in narrow


COLUMNS = (Column("a", "first"), Column("b", "second", leaves=1), Column("c", "third", right=True, leaves=2))
ROWS = [{"a": "x", "b": "long text", "c": "7"}, {"a": "y"}]


def test_lay_out_aligns():
    lines, left = lay_out(COLUMNS, ROWS, None)
    assert lines == ["first  second     third", "x      long text      7", "y"]
    assert left == ()


@pytest.mark.parametrize(("width", "titles"), [(23, 3), (22, 2), (16, 2), (15, 1), (1, 1)])
def test_columns_leave_whole(width, titles):
    lines, left = lay_out(COLUMNS, ROWS, width)
    assert len(lines[0].split()) == titles
    assert len(left) == 3 - titles


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_688_000, "1.6 MiB"), (2**41, "2,048.0 GiB")]
)
def test_size_text(count, text):
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999"), (1000, "1.00 K"), (2_361_000, "2.36 M"), (3 * 10**15, "3000.00 T")]
)
def test_count_text(count, text):
    assert count_text(count) == text

"""docs/your_own_cell.md and examples/own_cell.py do what they say: every snippet is run."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cortexc import equations

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/your_own_cell.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [text for kind, _, text in FENCES if kind == "python"]
COMMANDS = [line for kind, _, text in FENCES if kind == "sh" for line in text.splitlines()]


def run(arguments: list[str], folder: Path) -> str:
    """The output of a fresh process, as a user's: no interpreter of Triton, the page's files at hand."""
    clean = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    path = os.pathsep.join(filter(None, (str(folder), str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=clean | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_page(tmp_path: Path) -> None:
    """The Python of the page as one program; the text that it shows; and that training gets somewhere."""
    (tmp_path / "page.py").write_text("\n".join([*PYTHON, 'print(f"loss {loss.item():.3f}")']), encoding="utf-8")
    printed = run(["page.py"], tmp_path)
    (shown,) = [text for kind, _, text in FENCES if not kind]
    assert printed.startswith(shown)
    (loss,) = re.findall(r"^loss ([\d.]+)$", printed, re.MULTILINE)
    assert float(loss) < 1.9  # 2 is what uncorrelated numbers of variance 1 give
    assert len(re.findall(r"^(?:leaky|torch.nn.GRU) +forward.* ms$", printed, re.MULTILINE)) == 4


def test_one_program_in_ten_lines() -> None:
    """The equations of the first section are ten lines at most."""
    assert len([line for line in PYTHON[0].splitlines() if line.strip()]) <= 10


def test_table_of_arguments() -> None:
    """The table names every argument of the decorator, and no other."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE.split("## The decorator")[1], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(inspect.signature(equations.recurrence).parameters)


def test_list_of_functions() -> None:
    said = re.search(r"comparisons, and `([^`]+)` of `cortexc.equations`", PAGE)
    assert said is not None
    no_function = {
        "Recurrence",
        "State",
        "Outputs",
        "Symbols",
        "describe",
        "emit_module",
        "recurrence",
        "register_recurrence",
    }
    assert set(said[1].split()) == set(equations.__all__) - no_function


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, tmp_path: Path) -> None:
    """Each command line ends well, in a process of its own that finds the page's module and file."""
    (tmp_path / "my_cells.py").write_text(
        PYTHON[0] + '\nfrom cortexc import register_recurrence\n\nregister_recurrence(leaky, token="G")\n',
        encoding="utf-8",
    )
    for _, about, text in FENCES:
        if about.startswith("file="):
            (tmp_path / about.removeprefix("file=")).write_text(text, encoding="utf-8")
    assert run(["-m", "cortexc.cli", *shlex.split(command)[1:]], tmp_path)


def test_example(tmp_path: Path) -> None:
    """The example runs as a user would run it, and trains."""
    printed = run([str(ROOT / "examples/own_cell.py"), "--steps", "40", "--rounds", "1"], tmp_path)
    first, last = (float(v) for v in re.findall(r"loss ([\d.]+)", printed))
    assert last < 0.5 * first
    assert "gradient checked" in printed and "affine in (h): h' = a h + b" in printed

"""The torch-free verbs stay torch-free, and quick."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "tensordict", "triton")
PROBE = f"""
import json, sys
from cortexc.cli import main
sys.argv = ["cortexc", *sys.argv[1:]]
try:
    main()
except SystemExit as leaving:
    code = leaving.code or 0
print("\\nPROBE" + json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def probe(folder: Path, *args: str) -> tuple[int, list[str]]:
    """Exit code of the verb and the heavy modules it pulled in."""
    done = subprocess.run([sys.executable, "-c", PROBE, *args], cwd=folder, capture_output=True, text=True, timeout=120)
    assert "\nPROBE" in done.stdout, done.stderr
    code, heavy = json.loads(done.stdout.rpartition("\nPROBE")[2])
    return code, heavy


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["compile", "--help"],
        ["bench", "--help"],
        ["import-checkpoint", "--help"],
        ["doctor", "--help"],
        ["check", "AXMS x4"],
        ["fmt", "AXMS x4"],
        ["expand", "AXMS x4"],
        ["tokens"],
        ["tokens", "let Q = M\nQ"],
        ["recipes"],
        ["explain", "E201"],
        ["lsp", "--help"],
        ["check", "recipe:xlstm_7_1"],
        ["fmt", "--check", "AXMS"],
        ["fmt", "--diff", "A,X"],
        ["show", "AXMS x2"],
        ["show", "AXMS x2", "--format", "mermaid"],
        ["show", "AXMS x2", "--format", "json"],
        ["show", "AXMS x2", "--stage", "ast"],
        ["show", "AXMS x2", "--stage", "code"],
        ["show", "AXMS x2", "--stage", "kernels"],
        ["compile", "AXMS x2", "--d-hidden", "16"],
        ["tune", "--help"],
        ["cache", "ls"],
        ["cache", "why", "AXMS x2", "--d-hidden", "16"],
        ["cache", "clear", "--older-than", "36500"],
    ],
    ids=" ".join,
)
def test_verb_needs_no_torch(tmp_path: Path, args: list[str]) -> None:
    assert probe(tmp_path, *args) == (0, [])


@pytest.mark.parametrize("verb", ["check", "fmt", "expand", "show", "tokens"])
def test_file_needs_no_torch(tmp_path: Path, verb: str) -> None:
    (tmp_path / "a.cortex").write_text("let Q = M\nAQ\n")
    assert probe(tmp_path, verb, "a.cortex") == (0, [])


def test_bad_pattern_needs_no_torch(tmp_path: Path) -> None:
    assert probe(tmp_path, "compile", "AXQS") == (1, [])


@pytest.mark.parametrize("module", ["cortexc", "cortexc.cortex_dsl", "cortexc.compiler", "cortexc.cli.app"])
def test_import_needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_quick() -> None:
    """Processor time, best of five: what the command costs, not what else the machine does."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "cortexc.cli", "--help"], check=True, capture_output=True, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(times) < 0.5

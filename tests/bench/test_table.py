"""The Markdown table says what the result files say, and notices when it is out of date."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def document() -> dict:
    def timing(mode: str, ms: float) -> dict:
        return {"mode": mode, "median_ms": ms, "first_call_s": 1.5, "peak_bytes": 3 * 2**20}

    work = {"pattern": "AXMS x4", "d_hidden": 256, "batch": 16, "seq_len": 256, "dtype": "float32", "tf32": False}
    where = {"device": "Some GPU", "torch": "2.13.0", "triton": "3.9.0", "commit": "0123456789abcdef", "dirty": True}
    eager = [timing("forward", 10.0), timing("step", 2.0)]
    return {
        "work": work,
        "environment": where | {"time": "2026-01-02T03:04:05+00:00"},
        "outcomes": [
            {"contender": "cortexc eager", "timings": eager, "relative_error": None, "error": ""},
            {"contender": "cortexc triton", "timings": [], "relative_error": None, "error": "a | b"},
        ],
        "missing_peers": ["cortexcore"],
    }


def table(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "table.py"), "--results", str(folder), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_table(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(document()))
    assert table(tmp_path).returncode == 0
    text = (tmp_path / "README.md").read_text()
    assert "| cortexc eager | 10.00 (1.5) | – | 2.00 (1.5) | – | 3 MiB | – |" in text
    assert r"| cortexc triton | – | – | – | – | – | a \| b |" in text
    assert "Some GPU, torch 2.13.0, Triton 3.9.0, TF32 off, commit 0123456789ab with changes, 2026-01-02" in text
    assert "Not installed in this run: cortexcore." in text


def test_check(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(document()))
    assert table(tmp_path, "--check").returncode == 1
    table(tmp_path)
    assert table(tmp_path, "--check").returncode == 0
    (tmp_path / "two.json").write_text(json.dumps(document()))
    assert table(tmp_path, "--check").returncode == 1


def test_committed_table_is_up_to_date():
    done = table(BENCH / "results", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("backends", ["reference,eager"])
def test_gpu_script_runs_on_a_cpu(tmp_path, backends):
    out = tmp_path / "result.json"
    work = ["--pattern", "A", "--d-hidden", "8", "--batch", "2", "--seq-len", "4", "--device", "cpu"]
    done = subprocess.run(
        [
            sys.executable,
            str(BENCH / "gpu_stack.py"),
            *work,
            "--backends",
            backends,
            "--rounds",
            "2",
            "--out",
            str(out),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    names = [outcome["contender"] for outcome in result["outcomes"]]
    assert names[:2] == ["cortexc reference", "cortexc eager"]
    assert "lstm" in names
    assert result["outcomes"][1]["relative_error"] <= 2e-5

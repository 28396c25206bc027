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


def test_first_calls(tmp_path):
    found = [
        {"call": call, "start": start, "build_s": 1.0, "first_call_s": seconds}
        for call, start, seconds in (
            ("forward", "one by one", 20.04),
            ("forward", "cached", 0.5),
            ("step", "cached", 3.0),
        )
    ]
    found.append({"call": "step", "start": "one by one", "build_s": 1.0, "first_call_s": 7.0})
    where = document()["environment"]
    cold = {"pattern": "A x2", "processors": 16, "environment": where, "first_calls": found}
    (tmp_path / "one.json").write_text(json.dumps(cold))
    assert table(tmp_path).returncode == 0
    text = (tmp_path / "README.md").read_text()
    assert "| | one by one | cached |\n|---|---:|---:|\n| forward | 20.0 | 0.5 |\n| step | 7.0 | 3.0 |" in text
    assert "`A x2`" in text and "Some GPU, 16 processors" in text


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


def test_recurrences(tmp_path):
    about = {"device": "Some GPU", "torch": "2.13.0", "triton": "3.9.0", "cudnn": 91900, "commit": "0123456789abcdef"}
    kind = {"shape": "[2,3,1x4]", "dtype": "float32"}
    peer = {"cudnn_forward_ms": 4.0, "forward_ms": 1.0, "cudnn_both_ms": 12.0, "both_ms": 3.0, "both_graph_ms": 2.0}
    rows = [
        {"time": "axon", **kind, "resets": True, "forward_ms": 0.5, "us_a_step": 9.0, "both_ms": 1.25}
        | {"forward_graph_ms": 0.25, "both_graph_ms": 1.0, "forward_bound_ms": 0.125, "both_bound_ms": 0.25},
        {"time": "slstm", **kind, "resets": False, "failed": "OutOfResources"},
        {"time": "agalite", **kind, "forward_graph_ms": 0.5, "forward_bound_ms": 0.25},
        {"peer": "lstm", **kind, "tf32": True, **peer, "times_faster": 4.0},
        {"check": "gru", **kind, "right": True, "runs": 200, "runs_that_moved": 0},
        {"check": "far", **kind, "right": False},
    ]
    (tmp_path / "one.json").write_text(json.dumps({"about": about | {"date": "2026-01-02"}, "rows": rows}))
    assert table(tmp_path).returncode == 0
    text = (tmp_path / "README.md").read_text()
    assert "| axon | [2,3,1x4] | float32 | 2 % | 0.5 (0.25) | 9 | 1.25 (1) | 50% / 25% |" in text
    assert "| slstm | [2,3,1x4] | float32 | – | OutOfResources | – | OutOfResources | – |" in text
    assert "| agalite | [2,3,1x4] | float32 | – | (0.5) | – | – | 50% |" in text
    assert "| lstm | [2,3,1x4] | float32 (TF32) | 4 | 1 | 12 | 3 (2) | 4 |" in text
    assert "2 cases, outputs, states, traces and gradients against float64, 1 wrong; 200 runs" in text

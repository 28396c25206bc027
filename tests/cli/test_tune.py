"""`cortexc tune` on a machine without a GPU, and what it prints of measurements that are made up."""

import json

import pytest
from typer.testing import CliRunner

import cortexc.runtime
from cortexc.cli.app import app
from cortexc.kernels.recurrence.choices import Head, Key
from cortexc.kernels.recurrence.search import Found
from cortexc.runtime import Tuning

SMALL = ("--d-hidden", "16", "--batch", "2", "--seq-len", "3", "--device", "cpu")


def test_nothing_to_tune_is_one_line(piped):
    done = piped("tune", "AXMS x4", "--device", "cpu")
    assert done.code == 0, done.err
    assert done.out == "nothing to tune: there is no GPU here, and on a CPU recurrences run as torch operators\n"


@pytest.mark.interpreter
def test_dry_run_in_the_interpreter(piped, tmp_path):
    env = {"TRITON_INTERPRET": "1", "CORTEXC_CACHE_DIR": str(tmp_path / "cache")}
    done = piped("tune", "A / S", *SMALL, "--seconds", "2.5", "--dry-run", **env)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[-1] == "4 kernels, 10 s at most; nothing measured"
    assert "slstm [2,4,4x4] exact forward  warps 2; warps 8" in lines
    assert sum(line.startswith("axon [2,4,1x16] exact ") for line in lines) == 2
    assert not (tmp_path / "cache/tuning").exists()


@pytest.mark.interpreter
def test_dry_run_of_heads(piped, tmp_path):
    env = {"TRITON_INTERPRET": "1", "CORTEXC_CACHE_DIR": str(tmp_path / "cache")}
    sizes = ("--d-hidden", "16", "--batch", "1", "--seq-len", "9", "--device", "cpu")
    done = piped("tune", "Ag(n_heads=2)", *sizes, "--dry-run", **env)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "agalite_r2 [1,16,2x8x6] exact forward  chunk 16",
        "agalite_r2 [1,16,2x8x6] exact backward  chunk 16",
        "2 kernels, 20 s at most; nothing measured",
    ]


@pytest.mark.parametrize(
    ("args", "code"),
    [(("AXQS",), 1), (("A", "--dtype", "int8"), 2), (("A", "--batch", "0"), 2), (("A", "--device", "cuda:99"), 1)],
    ids=str,
)
def test_bad_requests(args, code):
    assert CliRunner().invoke(app, ["tune", *args]).exit_code == code


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A `tune` that measured one kernel; what it was called with."""
    given = {}

    def tune(pattern, *, progress, **options):
        given.update(options, pattern=pattern)
        key = Key("slstm", "0123456789ab", "head", "backward", "half", 16, 256, 4, 64, False)
        found = Found(key, Head(4), Head(8), 1.02, 0.94, 3)
        progress(str(found))
        return Tuning((key,), (found,), tmp_path / "table.json", "1 of 1 kernels faster than built in: table.json")

    monkeypatch.setattr(cortexc.runtime, "tune", tune)
    return given


def test_text(measured):
    done = CliRunner().invoke(app, ["tune", "S with d_hidden=64", "--dtype", "bfloat16", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "slstm [16,256,4x64] half backward  1.02 -> 0.94 ms  warps 8",
        "1 of 1 kernels faster than built in: table.json",
    ]
    assert (measured["pattern"], measured["d_hidden"], measured["dtype"]) == ("S with d_hidden=64", 64, "bfloat16")
    assert (measured["batch"], measured["seq_len"], measured["seconds"], measured["dry_run"]) == (16, 256, 10.0, False)


def test_document(measured, tmp_path):
    done = CliRunner().invoke(app, ["tune", "S", "--device", "cpu", "--json"])
    document = json.loads(done.stdout)
    assert (document["schema"], document["path"]) == ("cortexc.tune/1", str(tmp_path / "table.json"))
    (found,) = document["found"]
    assert found["key"] == document["kernels"][0] and found["key"]["rows"] == 16
    assert (found["built_in"], found["choice"]) == ({"warps": 4}, {"warps": 8})
    assert (found["built_in_ms"], found["ms"], found["tried"]) == (1.02, 0.94, 3)

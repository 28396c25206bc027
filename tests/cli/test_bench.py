"""`cortexc bench`: numbers side by side, and exit codes for wrong, failed and slow. Covers W6."""

import json

import pytest
import typer

from cortexc.benchmark import Outcome, Timing, Work
from cortexc.cli.bench import judge, read_baseline
from cortexc.cli.output import UserError

ARGS = ("bench", "A", "--d-hidden", "8", "--batch", "2", "--seq-len", "4", "--device", "cpu", "--rounds", "2")
WORK = Work("A", 8, 2, 4, "float32", "cpu")


def outcome(name: str, ms: float, relative_error: float | None = None, error: str = "") -> Outcome:
    return Outcome(name, (Timing(name, "step", ms, ms, ms, 3, 0.1),), relative_error, error)


def exit_code(outcomes, before=None) -> int:
    try:
        judge(WORK, outcomes, before, 1.25)
    except typer.Exit as leaving:
        return int(leaving.exit_code)
    return 0


def test_document_and_file(piped, tmp_path):
    done = piped(*ARGS, "--backends", "reference,eager", "--out", "result.json", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["schema"] == "cortexc.bench/1"
    assert json.loads((tmp_path / "result.json").read_text()) == document
    assert [o["contender"] for o in document["outcomes"]] == ["reference", "eager"]
    assert document["outcomes"][1]["relative_error"] <= WORK.tolerance
    assert {t["mode"] for t in document["outcomes"][0]["timings"]} == {"forward", "forward+backward", "step", "stepper"}
    assert document["work"]["batch"] == 2
    assert {"torch", "triton", "device", "commit", "dirty"} <= document["environment"].keys()


def test_table(piped):
    done = piped(*ARGS, "--backends", "eager")
    assert done.code == 0, done.err
    for word in ("forward+backward", "step", "median", "speedup", "TF32 off"):
        assert word in done.out


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--backends", "eager,fpga"), 2),
        (("--backends", ","), 2),
        (("--device", "abacus"), 2),
        (("--device", "cuda:99"), 1),
    ],
    ids=str,
)
def test_bad_requests(piped, args, code):
    done = piped(*ARGS, *args)
    assert done.code == code
    assert "Traceback" not in done.err


def test_all_well():
    assert exit_code([outcome("eager", 2.0), outcome("triton", 1.0, 1e-6)]) == 0


@pytest.mark.parametrize("wrong", [1e-3, float("nan"), float("inf")])
def test_wrong_numbers(wrong):
    assert exit_code([outcome("eager", 2.0), outcome("triton", 1.0, wrong)]) == 3


def test_backend_that_cannot_run():
    assert exit_code([outcome("eager", 2.0), outcome("triton", 1.0, None, "no device")]) == 1


@pytest.mark.parametrize(("ms", "code"), [(1.24, 0), (1.26, 4)])
def test_regression(ms, code):
    assert exit_code([outcome("eager", ms)], {("eager", "step"): 1.0}) == code


def test_baseline_that_is_none(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match=r"other\.json is not a result file"):
        read_baseline(tmp_path / "other.json")

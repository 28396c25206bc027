"""`cortexc compile`: what it writes, what it refuses, and that it never leaves half a package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cortexc.cli.app import app

SMALL = ("--d-hidden", "16")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones included."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_writes_a_package(piped, tmp_path):
    done = piped("compile", "A x2", *SMALL)
    assert done.code == 0, done.err
    assert {"__init__.py", "module.py", "spec.json", "graph.txt", "manifest.json"} <= tree(
        tmp_path / "build/a_x2"
    ).keys()
    manifest = json.loads((tmp_path / "build/a_x2/manifest.json").read_text())
    assert manifest["pattern"] == "A x2"
    assert manifest["hash"] in done.out
    assert [p.name for p in (tmp_path / "build").iterdir()] == ["a_x2"]


def test_json_document(piped, tmp_path):
    done = piped("compile", "A", *SMALL, "--out", "out", "--name", "mine", "--json")
    document = json.loads(done.out)
    assert document["schema"] == "cortexc.compile/1"
    assert document["name"] == "mine"
    assert document["path"] == "out/mine"
    assert set(document["files"]) == tree(tmp_path / "out/mine").keys()
    assert document["report"]["total_params"] == sum(r["params"] * r["count"] for r in document["report"]["rows"])


def test_totals_are_those_of_the_imported_module(piped, tmp_path):
    report = json.loads(piped("compile", "AXMS x2", *SMALL, "--name", "pack", "--json").out)["report"]
    program = (
        "from pack import Stack; s = Stack(); st = s.init_state(3);"
        "leaves = st.values(include_nested=True, leaves_only=True);"
        "print(sum(p.numel() for p in s.parameters()), sum(v.numel() * v.element_size() for v in leaves))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "build", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    parameters, state = map(int, done.stdout.split())
    assert parameters == report["total_params"]
    assert state == 3 * report["total_state_bytes"]


@pytest.mark.parametrize("name", ["1x", "a-b", "a.b", "class", "../x", "json", "torch", "cortexc"])
def test_refuses_a_bad_name(piped, tmp_path, name):
    done = piped("compile", "A", *SMALL, "--name", name)
    assert done.code == 2
    assert name in done.err
    assert tree(tmp_path) == {}


def test_refuses_out_that_is_a_file(piped, tmp_path):
    (tmp_path / "build").write_text("mine")
    done = piped("compile", "A", *SMALL)
    assert done.code == 1
    assert "build is a file" in done.err
    assert tree(tmp_path) == {"build": b"mine"}


def test_leaves_a_foreign_folder_alone(piped, tmp_path):
    (tmp_path / "build/a").mkdir(parents=True)
    (tmp_path / "build/a/thesis.txt").write_text("years of work")
    (tmp_path / "build/a/manifest.json").write_text('{"name": "an extension"}')
    before = tree(tmp_path)
    done = piped("compile", "A", *SMALL)
    assert done.code == 1
    assert "was not written by `cortexc compile`" in done.err
    assert tree(tmp_path) == before


def test_does_not_follow_a_link(piped, tmp_path):
    piped("compile", "A", *SMALL, "--out", "elsewhere")
    (tmp_path / "build").mkdir()
    (tmp_path / "build/a").symlink_to(tmp_path / "elsewhere/a")
    assert piped("compile", "A", *SMALL).code == 1
    assert (tmp_path / "build/a").is_symlink()


def test_replaces_its_own_package_whole(piped, tmp_path):
    assert piped("compile", "A", *SMALL).code == 0
    (tmp_path / "build/a/left_over.py").write_text("")
    assert piped("compile", "A", "--d-hidden", "32").code == 0
    assert "left_over.py" not in tree(tmp_path / "build/a")
    assert json.loads((tmp_path / "build/a/manifest.json").read_text())["d_hidden"] == 32


@pytest.mark.parametrize("older", [False, True], ids=["nothing there", "older package there"])
def test_a_full_disk_leaves_nothing_half_written(monkeypatch, tmp_path, older):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    if older:
        assert runner.invoke(app, ["compile", "A", *SMALL]).exit_code == 0
    before, written, write_text = tree(tmp_path), [], Path.write_text

    def fail_third(path: Path, *args, **kwargs):
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return write_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", fail_third)
    result = runner.invoke(app, ["compile", "A", *SMALL])
    assert len(written) == 3
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert tree(tmp_path) == before


def test_error_in_the_pattern(piped, tmp_path):
    done = piped("compile", "AXQS", *SMALL)
    assert done.code == 1
    assert done.out == ""
    assert "E201" in done.err
    assert "AXQS" in done.err
    assert "^" in done.err
    assert "Traceback" not in done.err
    assert tree(tmp_path) == {}


def test_error_in_a_size_names_token_value_and_expectation(piped, tmp_path):
    done = piped("compile", "AXMS x4", "--d-hidden", "250")
    assert done.code == 1
    assert "250" in done.err
    assert "Traceback" not in done.err
    assert tree(tmp_path) == {}


def test_error_as_json(piped):
    done = piped("compile", "AXQS", *SMALL, "--json")
    assert done.code == 1
    document = json.loads(done.out)
    assert document["schema"] == "cortexc.error/1"
    assert document["exit_code"] == 1
    (diagnostic,) = document["error"]["diagnostics"]
    assert diagnostic["code"] == "E201"
    assert diagnostic["where"]["column"] == 3


@pytest.mark.parametrize(
    "args",
    [["--backend", "fpga"], ["--dtype", "int8"], ["--d-hidden", "0"], ["--d-hidden", "many"], ["--nonsense"]],
    ids=" ".join,
)
def test_usage_errors(piped, tmp_path, args):
    done = piped("compile", "A", *args)
    assert done.code == 2
    assert args[0] in done.err
    assert tree(tmp_path) == {}


def test_default_name_can_be_imported(piped, tmp_path):
    """`AS` would become `as`, which Python keeps for itself."""
    assert piped("compile", "AS", *SMALL).code == 0
    assert (tmp_path / "build/stack_as/__init__.py").exists()


def test_width_in_the_pattern_holds(piped):
    document = json.loads(piped("compile", "A with d_hidden=32", "--json").out)
    assert document["report"]["d_hidden"] == 32

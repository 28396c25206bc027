"""Building, loading and calling functions in C++; what happens where that cannot be done."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cortexc.kernels import warnings as said
from cortexc.kernels.native import build, library, native, wanted
from cortexc.kernels.native.library import Native
from cortexc.kernels.warnings import CortexWarning

SHARE = """
extern "C" void mark(const long long* a) {
    const Call c = {a[1], a[2], nullptr};
    in_pieces(c, c.rows, a[3], [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) ((float*)a[0])[b] += 1.0f;
    });
}
"""

ALONE = 'extern "C" void nothing(const long long*) {}\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a process that has heard of nothing."""
    monkeypatch.setenv("CORTEXC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(said, "_SAID", set())
    return tmp_path / "native"


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("rows", [0, 1, 5, 4096, 10_001])
@pytest.mark.parametrize("width", [1, 300, 100_000])
def test_every_row_is_taken_once(rows: int, width: int, threads: int) -> None:
    counts, kernel = torch.zeros(rows), Native("mark", SHARE)
    with native():
        assert kernel.usable()
        kernel([counts.data_ptr(), rows, threads, width])
    assert torch.equal(counts, torch.ones(rows))


def test_nothing_runs_outside() -> None:
    kernel = Native("mark", SHARE)
    assert not kernel.usable()
    with native():
        assert kernel.usable()
        with native(False):
            assert not kernel.usable()
        assert kernel.usable()
    assert not kernel.usable()


def test_a_library_is_built_once_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.library(ALONE + "// one")
    assert first.parent == folder and [p.name for p in folder.iterdir()] == [first.name]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def fail(*_: object) -> Path:
        raise AssertionError("built again")

    monkeypatch.setattr(build, "_compiled", fail)
    assert build.library(ALONE + "// one") == first
    with pytest.raises(AssertionError, match="built again"):
        build.library(ALONE + "// two")  # another text is another library
    assert [p.name for p in folder.iterdir()] == [first.name]  # and what fails leaves nothing behind


def test_a_text_that_does_not_compile_is_said_once(folder: Path) -> None:
    broken = Native("mark", "this is no C++")
    with native():
        with pytest.warns(CortexWarning, match=r"W404 .*error.*CORTEXC_NATIVE=0") as caught:
            assert not broken.usable()
        assert not broken.usable()
    assert len(caught) == 1 and list(folder.iterdir()) == []


@pytest.mark.parametrize("body", ["exit 3", "echo 'fatal error: out of luck' >&2; exit 1"])
def test_a_compiler_that_fails_is_named(
    body: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "cxx"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setattr(build, "compiler", lambda: str(program))
    with pytest.raises(build.BuildError, match=str(program)) as caught:
        build.library(SHARE)
    assert ("out of luck" if "luck" in body else "exit code 3") in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CORTEXC_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(build.BuildError, match="file"):
        build.library(SHARE)


def test_a_damaged_library_is_said_and_not_used(folder: Path) -> None:
    kernel = Native("mark", SHARE)
    path = build.library("\n".join([*library._headers(), SHARE]))
    path.write_bytes(b"no library")
    with native(), pytest.warns(CortexWarning, match="W404"):
        assert not kernel.usable()


def test_without_the_library_of_products_nothing_runs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(library, "_symbol", lambda *_: None)
    with native(), pytest.warns(CortexWarning, match="BLAS"):
        assert not Native("mark", SHARE).usable()


def test_when_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "INTERPRETED", False)
    monkeypatch.setattr(library, "compiler", lambda: "/usr/bin/c++")
    assert wanted()
    monkeypatch.setenv("CORTEXC_NATIVE", "0")
    assert not wanted()
    monkeypatch.delenv("CORTEXC_NATIVE")
    monkeypatch.setattr(library, "compiler", lambda: None)
    assert not wanted()
    monkeypatch.setattr(library, "compiler", lambda: "/usr/bin/c++")
    monkeypatch.setattr(library, "INTERPRETED", True)
    assert not wanted()


@pytest.mark.parametrize(("setting", "expected"), [("", None), ("/nowhere/c++", None), ("true", "true")])
def test_the_compiler_is_the_users(setting: str, expected: str | None) -> None:
    """In a process of its own, which asks once."""
    code = "from cortexc.kernels.native.build import compiler; print(compiler())"
    path = "/nowhere" if not setting else None
    env = {"PYTHONPATH": ":".join(sys.path), **({"CXX": setting} if setting else {}), "PATH": path or "/usr/bin:/bin"}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert found.strip() == "None" if expected is None else found.strip().endswith(expected)

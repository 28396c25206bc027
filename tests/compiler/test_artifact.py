"""Packages on disk: whole or not at all, and never over what is somebody else's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexc.compiler import Artifact, build, default_name
from cortexc.compiler.artifact import MANIFEST, check_name, content_hash, is_package
from cortexc.cortex_dsl import parse, resolve


def make(pattern: str = "A") -> Artifact:
    return build(resolve(parse(pattern, d_hidden=16)), backend="eager", pattern=pattern)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_writes_every_file_and_fills_in_the_name(tmp_path: Path) -> None:
    artifact = make()
    folder = artifact.write(tmp_path / "deep" / "out", "mine")
    assert folder == tmp_path / "deep" / "out" / "mine"
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == artifact.files.keys()
    assert "from mine import Stack" in (folder / "__init__.py").read_text()
    assert names(folder.parent) == ["mine"]
    assert folder.stat().st_mode & 0o777 == 0o755
    assert is_package(folder)


def test_only_the_package_file_is_filled_in(tmp_path: Path) -> None:
    """A pattern may hold the words of a template: code is written as it was hashed."""
    artifact = make("A # {package}")
    folder = artifact.write(tmp_path, "mine")
    assert (folder / "module.py").read_text() == artifact.files["module.py"]


def test_a_new_package_replaces_an_old_one(tmp_path: Path) -> None:
    make("A").write(tmp_path, "mine")
    (tmp_path / "mine" / "left_over.py").write_text("")
    make("X").write(tmp_path, "mine")
    assert json.loads((tmp_path / "mine" / MANIFEST).read_text())["pattern"] == "X"
    assert not (tmp_path / "mine" / "left_over.py").exists()
    assert names(tmp_path) == ["mine"]


@pytest.mark.parametrize("old", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize("problem", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("at", ["third file", "rename", "second rename"])
def test_a_failure_in_the_middle_leaves_what_was_there(
    at: str, problem: BaseException, old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old:
        make("A").write(tmp_path, "mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    owner, attribute, count = (Path, "write_text", 3) if at == "third file" else (os, "rename", 1 + at.startswith("s"))
    if at == "second rename" and not old:
        count = 1
    real = getattr(owner, attribute)
    calls = 0

    def failing(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == count:
            raise problem
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, attribute, failing)
    with pytest.raises(type(problem)):
        make("X").write(tmp_path, "mine")
    monkeypatch.undo()
    assert calls >= count
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert names(tmp_path) == (["mine"] if old else [])


def test_an_old_package_that_cannot_be_put_back_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("A").write(tmp_path, "mine")
    real, calls = os.rename, 0

    def broken(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError("read-only by now")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", broken)
    with pytest.raises(OSError, match="read-only by now"):
        make("X").write(tmp_path, "mine")
    (kept,) = tmp_path.rglob(MANIFEST)
    assert json.loads(kept.read_text())["pattern"] == "A"


@pytest.mark.parametrize("manifest", [None, "", "{", "[]", "7", '{"tool": "other"}', "{}", "\x00"])
def test_refuses_a_folder_that_is_not_ours(manifest: str | None, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    if manifest is not None:
        (tmp_path / "mine" / MANIFEST).write_text(manifest)
    assert not is_package(tmp_path / "mine")
    before = names(tmp_path / "mine")
    with pytest.raises(FileExistsError, match="mine exists and was not written by cortexc; choose another --name"):
        make().write(tmp_path, "mine")
    assert names(tmp_path / "mine") == before and names(tmp_path) == ["mine"]


def test_refuses_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("a file")
    with pytest.raises(FileExistsError, match="was not written by cortexc"):
        make().write(tmp_path, "mine")
    assert (tmp_path / "mine").read_text() == "a file"


@pytest.mark.parametrize("name", ["1x", "a-b", "a.b", "class", "None", "../x", "a/b", "", " ", "torch", "cortexc"])
def test_refuses_a_name_that_cannot_be_imported(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Python identifier such as axms_x4, not") as caught:
        make().write(tmp_path, name)
    assert repr(name) in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("AXMS x4", "axms_x4"),
        ("AM^S / X", "amhats_x"),
        ("X(mem_len=64)", "x_mem_len_64"),
        ("AS", "stack_as"),  # keywords of Python
        ("I S", "i_s"),
        ("4", "stack_4"),
        ("/", "stack"),
        ("torch", "stack_torch"),
    ],
)
def test_default_names(pattern: str, name: str) -> None:
    assert default_name(pattern) == name


@given(st.text())
def test_every_default_name_is_a_name(pattern: str) -> None:
    found = default_name(pattern)
    assert check_name(found) == found and len(found) <= 66


def test_the_hash_sees_paths_and_texts_and_not_their_order() -> None:
    files = {"a": "1", "b": "2"}
    assert content_hash(files) == content_hash(dict(reversed(files.items()))) != content_hash({"a": "2", "b": "1"})
    assert content_hash({"a": "1\0b"}) != content_hash({"a": "1", "b": ""}) != content_hash({"ab": "1"})
    assert len(content_hash(files)) == 12

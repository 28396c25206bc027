"""Packages and the cache: imported in a fresh process, refused when damaged, private, and safe among processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cortexc
from cortexc.compiler import Artifact, build
from cortexc.compiler.artifact import FORMAT
from cortexc.cortex_dsl import parse, resolve
from cortexc.runtime import CortexLoadError, CortexWarning, loader
from cortexc.runtime.loader import cache_dir, read_package, store

WIDTH = 16
SOURCE = str(Path(cortexc.__file__).parents[1])


def make(pattern: str = "A", backend: str = "eager") -> Artifact:
    return build(resolve(parse(pattern, d_hidden=WIDTH)), backend=backend, pattern=pattern)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return make().write(tmp_path, "mine")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CORTEXC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def python(program: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh process that sees cortexc and the folder it runs in, and nothing of the tests."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CORTEX"))}
    path = os.pathsep.join(filter(None, (SOURCE, os.environ.get("PYTHONPATH"))))
    env |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )


# -- written packages ------------------------------------------------------------------------------------------------

USE = """
import sys, torch
torch.manual_seed(0)
from mine import Stack, build
x = torch.linspace(-1, 1, 2 * 5 * 16).view(2, 5, 16)
one = Stack()
torch.manual_seed(0)
two = build(dtype="float64")
import cortexc
torch.manual_seed(0)
three = cortexc.compile("AXMS x2", d_hidden=16, backend="eager", dtype="float32")
torch.manual_seed(0)
four = Stack(backend="reference")
y, state = one(x)
assert isinstance(one, cortexc.CompiledStack) and type(one).__name__ == "Stack"
assert torch.equal(y, three(x)[0])
assert two.dtype == torch.float64 and two(x.double())[0].dtype == torch.float64
assert four.backend == "reference" and (four(x)[0] - y).norm() / y.norm() < 2e-5
assert torch.equal(cortexc.load("mine").eval()(x)[0].isfinite(), torch.ones_like(y, dtype=torch.bool))
assert not any(name.startswith("tests") for name in sys.modules)
print("agrees", len(list(one.parameters())))
"""


def test_a_package_works_in_a_fresh_process(tmp_path: Path) -> None:
    make("AXMS x2").write(tmp_path, "mine")
    done = python(USE, tmp_path, CORTEXC_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("agrees ")


def test_load_gives_what_compile_gives(package: Path) -> None:
    torch.manual_seed(0)
    one = cortexc.load(package)
    torch.manual_seed(0)
    two = cortexc.compile("A", d_hidden=WIDTH, backend="eager")
    x = torch.randn(2, 5, WIDTH)
    assert torch.equal(one(x)[0], two(x)[0])
    assert one.folder == package and one.pattern == "A" and one.spec == two.spec


def test_overrides(package: Path, cache: Path) -> None:
    other = cortexc.load(str(package), backend="reference", dtype=torch.float64)
    assert (other.backend, other.dtype) == ("reference", torch.float64)
    assert other.folder.parent == cache / "code"


def test_edited_code_is_used_and_said(package: Path) -> None:
    """W301: the code is not what was compiled; the edit counts."""
    module = package / "module.py"
    x = torch.randn(2, 5, WIDTH)
    torch.manual_seed(0)
    expected, _ = cortexc.load(package)(x)
    module.write_text(module.read_text().replace("    return x, after", "    return x + 1, after"))
    torch.manual_seed(0)
    with pytest.warns(CortexWarning, match=r"W301 the code in .*mine is not what was compiled \(edited\?\)"):
        edited = cortexc.load(package)
    assert torch.equal(edited(x)[0], expected + 1)


def test_a_package_as_written_loads_without_a_word(package: Path, recwarn: pytest.WarningsRecorder) -> None:
    cortexc.load(package)
    assert [w for w in recwarn if issubclass(w.category, CortexWarning)] == []


# -- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"cortexc"', '{"tool": "other"}', "\x00\x01"])
def test_a_corrupt_manifest(text: str, package: Path) -> None:
    (package / "manifest.json").write_text(text)
    with pytest.raises(CortexLoadError, match=r"mine holds no compiled package \(manifest.json is missing or not ours"):
        cortexc.load(package)


def test_no_folder_at_all(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CortexLoadError, match="make one with: cortexc compile PATTERN"):
            cortexc.load(place)


@pytest.mark.parametrize("version", [FORMAT + 1, 0, None, "1"])
def test_another_format(version: object, package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    (package / "manifest.json").write_text(json.dumps({**manifest, "format": version}))
    expected = f'written in format {version}, this version reads {FORMAT}; compile it again: cortexc compile "A"'
    with pytest.raises(CortexLoadError) as caught:
        cortexc.load(package)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["module.py", "layout.json", "spec.json", "kernels/__init__.py"])
def test_a_missing_file(name: str, package: Path) -> None:
    (package / name).unlink()
    with pytest.raises(CortexLoadError, match=f"mine is not whole: {name} missing; compile it again"):
        cortexc.load(package)


@pytest.mark.parametrize("key", ["pattern", "code", "backend", "dtype", "part", "d_hidden"])
def test_a_manifest_without_a_key(key: str, package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    del manifest[key]
    (package / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CortexLoadError, match=f"'{key}' in manifest.json missing"):
        cortexc.load(package)


def test_a_damaged_layout(package: Path) -> None:
    (package / "layout.json").write_text('{"params": [')
    with pytest.raises(CortexLoadError, match=r"layout\.json is damaged .*compile the package again"):
        read_package(package)


# -- the cache -------------------------------------------------------------------------------------------------------


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("CORTEXC_CACHE_DIR", raising=False)
    assert cache_dir() == tmp_path / "xdg" / "cortexc"
    monkeypatch.setenv("CORTEXC_CACHE_DIR", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


def test_only_the_owner_may_read_or_write(cache: Path) -> None:
    """Code from this folder is executed."""
    folder = store(make())
    assert folder.parent == cache / "code"
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700


def test_written_once(cache: Path) -> None:
    folder = store(make())
    before = folder.stat().st_ino
    assert store(make()) == folder and folder.stat().st_ino == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["module.py", "layout.json", "report.json", "kernels/axon.py", "manifest.json"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_what_was_damaged_is_written_again(name: str, damage: str, cache: Path) -> None:
    artifact = make()
    folder = store(artifact)
    if damage == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_text("")
    assert store(artifact) == folder
    assert (folder / name).read_text() == artifact.files[name]
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_failure_leaves_nothing_half_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="disk full"):
            store(make())
    assert list((cache / "code").iterdir()) == []
    assert store(make()).is_dir()


def test_another_process_that_was_faster_is_not_disturbed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be reading the files by now: they must not vanish for a moment."""
    artifact, real, places = make(), loader.tempfile.mkdtemp, []

    def meanwhile(*args: object, **kwargs: object) -> str:
        if not places:
            places.append(None)
            places[0] = store(artifact).stat().st_ino
        return real(*args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(loader.tempfile, "mkdtemp", meanwhile)
    folder = store(artifact)
    assert folder.stat().st_ino == places[0]
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


TOGETHER = """
import torch, cortexc
cortexc.compile, torch.manual_seed(0)
print("ready", flush=True)
input()
y, _ = cortexc.compile("AS", d_hidden=16, backend="eager")(torch.ones(1, 3, 16))
print(y.sum().item())
"""


@pytest.mark.long
def test_two_processes_compile_at_once(cache: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, (SOURCE, os.environ.get("PYTHONPATH")))), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen([sys.executable, "-c", TOGETHER], env=env, stdin=pipe, stdout=pipe, text=True)
        for _ in range(2)
    ]
    assert [p.stdout.readline() for p in running] == ["ready\n"] * 2  # type: ignore[union-attr]
    for p in running:
        p.stdin.write("go\n")  # type: ignore[union-attr]
        p.stdin.flush()  # type: ignore[union-attr]
    results = [p.communicate(timeout=120)[0] for p in running]
    assert [p.returncode for p in running] == [0, 0]
    assert len(set(results)) == 1 and float(results[0])
    assert len(list((cache / "code").iterdir())) == 1


def test_code_is_imported_once_for_a_content(cache: Path, package: Path) -> None:
    one, two = (cortexc.compile("A", d_hidden=WIDTH, backend="eager") for _ in range(2))
    assert one._sequence is two._sequence
    assert cortexc.load(package)._sequence is one._sequence
    assert cortexc.compile("X", d_hidden=WIDTH, backend="eager")._sequence is not one._sequence


def test_code_that_does_not_import_is_not_kept(package: Path) -> None:
    good = (package / "module.py").read_text()
    (package / "module.py").write_text("import nowhere_at_all\n")
    for _ in range(2):
        with pytest.warns(CortexWarning, match="W301"), pytest.raises(ImportError, match="nowhere_at_all"):
            cortexc.load(package)
    (package / "module.py").write_text(good)
    assert cortexc.load(package).pattern == "A"

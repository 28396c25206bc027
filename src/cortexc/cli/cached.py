"""What lies in the cache folder, and taking it out. No torch, no compiler: this must answer at once."""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache import code_dir, native_dir, read_table, tuning_dir

HASH = re.compile(r"[0-9a-f]{12}")
LIBRARY = re.compile(r"[0-9a-f]{16}\.so")
# What a process writes before it renames it into place.
STAGED = re.compile(r"\.(?:[0-9a-f]{12}|[0-9a-f]{16}|.+\.json)-\w+")
ABANDONED = 3600.0  # seconds after which nobody is writing any more
DAY = 86400.0


@dataclass(frozen=True)
class Package:
    """A package that was compiled in memory."""

    path: Path
    manifest: dict[str, Any]
    size: int  # bytes
    age: float  # seconds

    @property
    def hash(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Table:
    """A table of tuned kernels; `problem` says why it cannot be read."""

    path: Path
    device: str
    triton: str
    entries: list[dict[str, Any]]
    size: int
    age: float
    problem: str = ""


@dataclass(frozen=True)
class Library:
    """The step of a layer, compiled for a CPU."""

    path: Path
    size: int
    age: float


def packages() -> list[Package]:
    """The packages of ours, the newest first."""
    found = []
    for path in _inside(code_dir()):
        manifest = _manifest(path) if HASH.fullmatch(path.name) and path.is_dir() else None
        if manifest is not None:
            found.append(Package(path, manifest, _size(path), _age(path)))
    return sorted(found, key=lambda p: p.age)


def tables() -> list[Table]:
    """The tables of tuned kernels, damaged ones too, by name."""
    found = []
    for path in _inside(tuning_dir()):
        if path.suffix != ".json" or path.name.startswith("."):
            continue
        try:
            read = read_table(path)
        except (OSError, ValueError) as problem:
            found.append(Table(path, path.stem, "", [], _size(path), _age(path), str(problem)))
        else:
            found.append(Table(path, read["device"], read["triton"], read["entries"], _size(path), _age(path)))
    return found


def libraries() -> list[Library]:
    """The steps that were compiled for a CPU, by name."""
    found = [p for p in _inside(native_dir()) if LIBRARY.fullmatch(p.name)]
    return [Library(p, _size(p), _age(p)) for p in found]


def abandoned(folder: Path) -> list[Path]:
    """What processes that died left half written."""
    return [p for p in _inside(folder) if STAGED.fullmatch(p.name) and _age(p) > ABANDONED]


def remove(paths: Iterable[Path]) -> list[str]:
    """Take files and folders out of the cache; what could not be removed comes back as complaints."""
    complaints = []
    for path in paths:
        try:
            _remove(path)
        except FileNotFoundError:
            continue  # another process was faster
        except OSError as problem:
            complaints.append(f"{path}: {problem.strerror or problem}")
    return complaints


def age_text(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `9 d`."""
    for size, unit in ((DAY, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _remove(path: Path) -> None:
    """A folder steps aside first: nobody finds half a package under its name."""
    if not path.is_dir():
        path.unlink()
        return
    aside = Path(tempfile.mkdtemp(prefix=f"{'' if path.name.startswith('.') else '.'}{path.name}-", dir=path.parent))
    try:
        path.rename(aside / path.name)
    finally:
        shutil.rmtree(aside)


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder itself; a link leads elsewhere, and is not ours."""
    try:
        return sorted(p for p in folder.iterdir() if not p.is_symlink())
    except OSError:
        return []


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("tool") == "cortexc" else None


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; what goes away meanwhile does not count."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        with suppress(OSError):
            total += file.lstat().st_size if not file.is_dir() else 0
    return total


def _age(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.lstat().st_mtime)
    except OSError:
        return 0.0

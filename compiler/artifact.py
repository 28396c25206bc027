"""What compiling gives: files, texts of every stage, a report; and how they reach the disk, all or nothing."""

from __future__ import annotations

import hashlib
import json
import keyword
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..cortex_dsl import CortexStackConfig
from .ir import Program
from .report import Report

MANIFEST = "manifest.json"
FORMAT = 1
TAKEN = ("cortexc", "torch")  # names that would hide what a package imports


@dataclass(frozen=True)
class Artifact:
    """The result of :func:`cortexc.compiler.build`. ``files`` maps relative paths to texts."""

    pattern: str
    hash: str
    backend: str
    dtype: str
    spec: CortexStackConfig
    programs: Mapping[str, Program]
    stages: Mapping[str, str]
    files: Mapping[str, str]
    report: Report

    def write(self, out: Path, name: str) -> Path:
        """Write the package ``out/name``. Everything goes into a temporary folder which is then renamed, so a failure
        leaves nothing half written. Raises ``FileExistsError`` if the place is taken by something that is no package of
        ours, ``ValueError`` if the name is no Python identifier."""
        check_name(name)
        out.mkdir(parents=True, exist_ok=True)
        target = out / name
        if target.exists() and not is_package(target):
            raise FileExistsError(f"{target} exists and was not written by cortexc; choose another --name or --out")
        staged = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=out))
        try:
            for path, text in self.files.items():
                file = staged / path
                file.parent.mkdir(parents=True, exist_ok=True)
                text = text.replace("{package}", name) if path == "__init__.py" else text
                file.write_text(text, encoding="utf-8")
            staged.chmod(0o755)
            _replace(staged, target)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        return target


def _replace(staged: Path, target: Path) -> None:
    """Rename ``staged`` to ``target``; an older package steps aside first and is removed after."""
    if not target.exists():
        os.rename(staged, target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    try:
        os.rename(target, aside / target.name)
        os.rename(staged, target)
    except BaseException:
        if not target.exists():
            os.rename(aside / target.name, target)
        raise
    finally:
        if target.exists():  # else the old package lies in there alone
            shutil.rmtree(aside, ignore_errors=True)


def is_package(path: Path) -> bool:
    """Whether the folder holds a package written by :meth:`Artifact.write`."""
    try:
        return json.loads((path / MANIFEST).read_text(encoding="utf-8"))["tool"] == "cortexc"
    except (OSError, ValueError, TypeError, LookupError):
        return False


def holds(folder: Path, artifact: Artifact) -> bool:
    """Whether a folder holds an artifact whole: every text as it was written (a manifest may name another Python)."""
    try:
        return is_package(folder) and all(
            (folder / path).read_text(encoding="utf-8") == text
            for path, text in artifact.files.items()
            if path != MANIFEST
        )
    except (OSError, ValueError):
        return False


def check_name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name) or name in TAKEN:
        raise ValueError(f"a package name is a Python identifier such as axms_x4, not {name!r}")
    return name


def default_name(pattern: str) -> str:
    """A package name for a pattern: ``AXMS x4`` -> ``axms_x4``, ``AM^S / X`` -> ``amhats_x``."""
    text = pattern.lower().replace("^", "hat")
    text = re.sub(r"[^a-z0-9]+", "_", text).strip("_")[:60].rstrip("_") or "stack"
    return text if text.isidentifier() and not keyword.iskeyword(text) and text not in TAKEN else f"stack_{text}"


def content_hash(files: Mapping[str, str]) -> str:
    """Twelve hex digits over every file, path and text."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.encode() + b"\0" + files[path].encode() + b"\0")
    return digest.hexdigest()[:12]

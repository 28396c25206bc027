"""The cache folder: where it is, and its tables of tuned kernels. Packages are in `code/`, tables in `tuning/`, steps
compiled for a CPU in `native/`.

``CORTEXC_CACHE_DIR``, else the platform's place. Everything in it is its owner's alone and is renamed into place whole.
Imports nothing of ours and nothing heavy: the runtime writes here, and the command line must list it in no time.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TABLE_FORMAT = 1


def cache_dir() -> Path:
    """Where what was compiled and tuned is kept."""
    chosen = os.environ.get("CORTEXC_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or (
        os.environ.get("LOCALAPPDATA") if os.name == "nt" else str(Path.home() / ".cache")
    )
    return Path(base or tempfile.gettempdir()) / "cortexc"


def code_dir() -> Path:
    """Where packages that were compiled in memory lie, each in a folder named by its hash."""
    return cache_dir() / "code"


def native_dir() -> Path:
    """Where the compiled kernels of CPUs lie, each a shared library named by its hash."""
    return cache_dir() / "native"


def tuning_dir() -> Path:
    """Where the tables of tuned kernels lie."""
    return cache_dir() / "tuning"


def table_path(device: str, triton: str) -> Path:
    """The table of a device, by the name that its driver gives, for a version of Triton."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", device).strip("-") or "device"
    return tuning_dir() / f"{name}-triton-{triton}.json"


def read_table(path: Path) -> dict[str, Any]:
    """A table as it was written. Raises OSError, or ValueError for a file that is no table of ours or is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as problem:
        raise ValueError("it is nested too deeply") from problem
    if not isinstance(found, dict) or found.get("tool") != "cortexc":
        raise ValueError("it was not written by cortexc")
    if found.get("format") != TABLE_FORMAT:
        raise ValueError(f"its format is {found.get('format')}, this version reads {TABLE_FORMAT}")
    entries = found.get("entries")
    texts = all(isinstance(found.get(key), str) for key in ("device", "triton"))
    if not texts or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ValueError("it is not whole")
    return found


def write_table(path: Path, device: str, triton: str, entries: list[Mapping[str, Any]]) -> Path:
    """Write a table whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    document = {"tool": "cortexc", "format": TABLE_FORMAT, "device": device, "triton": triton, "entries": entries}
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # owner-only
    staged = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=1) + "\n")
        return staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)

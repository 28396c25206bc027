"""Generated code as Python modules: a folder of files, imported once under a name made of its content hash.

In-memory compiles go to the user's cache folder (`cache.py`), readable by its owner only, written to a
temporary place and renamed. Real files keep tracebacks, debuggers and Triton's source reading useful.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from ..cache import cache_dir, code_dir
from ..compiler.artifact import FORMAT, MANIFEST, Artifact, content_hash, holds, is_package
from ..compiler.layout import LAYOUT
from .errors import CortexLoadError, CortexWarning
from .owners import import_owners

__all__ = ["cache_dir", "load_code", "read_package", "store"]

SPEC = "spec.json"
MODULE = "module.py"
KEYS = ("pattern", "code", "backend", "part", "dtype", "d_hidden")  # what the runtime reads of a manifest


def store(artifact: Artifact) -> Path:
    """The cache folder that holds this artifact, written if it is not there or was changed."""
    root = code_dir()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = root / artifact.hash
    if holds(target, artifact):
        return target
    staged = Path(tempfile.mkdtemp(prefix=f".{artifact.hash}-", dir=root))  # mkdtemp is owner-only
    try:
        for path, text in artifact.files.items():
            (staged / path).parent.mkdir(parents=True, exist_ok=True)
            (staged / path).write_text(text, encoding="utf-8")
        # Looked at again: another process may have been faster, and may be reading what it wrote.
        if target.exists() and not holds(target, artifact):
            shutil.rmtree(target, ignore_errors=True)
        os.rename(staged, target)
    except OSError:
        if not holds(target, artifact):
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def read_package(folder: Path) -> dict[str, Any]:
    """Manifest, layout and spec of a package folder. Raises CortexLoadError when it is none."""
    if not is_package(folder):
        raise CortexLoadError(
            f"{folder} holds no compiled package ({MANIFEST} is missing or not ours); "
            "make one with: cortexc compile PATTERN"
        )
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise CortexLoadError(
            f"{folder} was written in format {manifest.get('format')}, this version reads {FORMAT}; compile it again: "
            f'cortexc compile "{manifest.get("pattern")}"'
        )
    missing = [name for name in (MODULE, LAYOUT, SPEC, "kernels/__init__.py") if not (folder / name).is_file()]
    missing += [f"{key!r} in {MANIFEST}" for key in KEYS if key not in manifest]
    if missing:
        raise CortexLoadError(f"{folder} is not whole: {', '.join(missing)} missing; compile it again")
    if _hash_of(folder) != manifest["code"]:
        warnings.warn(
            f"W301 the code in {folder} is not what was compiled (edited?); it is used as it stands",
            CortexWarning,
            stacklevel=3,
        )
    try:
        layout = json.loads((folder / LAYOUT).read_text(encoding="utf-8"))
    except ValueError as problem:
        raise CortexLoadError(f"{folder / LAYOUT} is damaged ({problem}); compile the package again") from problem
    import_owners(layout.get("owners", ()))
    return {"manifest": manifest, "layout": layout, "spec": (folder / SPEC).read_text(encoding="utf-8")}


def _hash_of(folder: Path) -> str:
    files = {MODULE: folder / MODULE}
    files |= {f"kernels/{p.name}": p for p in sorted((folder / "kernels").glob("*.py"))}
    return content_hash({name: p.read_text(encoding="utf-8") for name, p in files.items() if p.exists()})


def load_code(folder: Path) -> ModuleType:
    """Import ``module.py`` of a package folder (and the kernels it uses), once per content."""
    name = f"_cortexc_{_hash_of(folder)}"
    full = f"{name}.module"
    if full not in sys.modules:
        _import(name, folder, None)
        _import(f"{name}.kernels", folder / "kernels", "__init__.py")
        _import(full, folder, "module.py")
    return sys.modules[full]


def _import(name: str, folder: Path, file: str | None) -> None:
    if file is None:
        package = ModuleType(name)
        package.__path__ = [str(folder)]  # type: ignore[attr-defined]
        sys.modules[name] = package
        return
    locations = [str(folder)] if file == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, folder / file, submodule_search_locations=locations)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise

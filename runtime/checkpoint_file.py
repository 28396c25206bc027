"""The file of a checkpoint: how it is written at once, what it says of itself, and what can be wrong with it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..compiler.build import version
from .errors import CortexCheckpointError

FORMAT = 1  # raised when an older reader would misread a file
KEY = "cortexc"  # of the JSON text in the metadata


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself. ``rows`` is the batch size of the saved state, None where there is none."""

    format: int
    cortexc: str
    torch: str
    pattern: str
    part: str
    dtype: str
    rows: int | None
    spec: dict[str, Any] = field(repr=False)
    extra: dict[str, str]


def write_file(path: Path, tensors: dict[str, Tensor], info: CheckpointInfo) -> None:
    """All or nothing: into a file beside ``path``, onto the disk, then renamed over it."""
    metadata = {"format": "pt", KEY: json.dumps(asdict(info))}
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    staged = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        staged.touch(exist_ok=False)
        mode = staged.stat().st_mode  # as the user's umask has it; safetensors would make it private
        try:
            save_file(tensors, staged, metadata=metadata)
        except SafetensorError as problem:
            raise OSError(f"cannot write {path}: {problem}") from problem
        staged.chmod(mode)
        _flush(staged)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_file(path: Path) -> Any:
    if path.is_dir():
        raise CortexCheckpointError(
            f"{path} is a folder; a checkpoint is one file (a compiled package is loaded with cortexc.load)"
        )
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as problem:
        raise CortexCheckpointError(f"{path} {_what_is_wrong(path, str(problem))}") from problem


def _what_is_wrong(path: Path, problem: str) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK" or start[:1] == b"\x80":
        return (
            "is a file of torch.save, which cortexc never unpickles; save with cortexc.save_checkpoint, "
            "or bring a state_dict of cortexcore in with cortexc.import_checkpoint"
        )
    if "not fully covered" in problem or not start:
        return "is cut off: the file is shorter than its header says (was the copy interrupted?)"
    return f"is not a checkpoint: {problem}"


def read_info(path: Path, file: Any) -> CheckpointInfo:
    text = (file.metadata() or {}).get(KEY)
    if text is None:
        raise CortexCheckpointError(
            f"{path} is a safetensors file that cortexc did not write; its weights alone can be loaded with "
            "stack.load_state_dict(safetensors.torch.load_file(path))"
        )
    try:
        found = json.loads(text)
        if found["format"] > FORMAT:
            raise CortexCheckpointError(
                f"{path} has format {found['format']} (cortexc {found.get('cortexc')}), this version ({version()}) "
                f"reads up to {FORMAT}; upgrade: pip install --upgrade cortexc"
            )
        return CheckpointInfo(**{name: found[name] for name in CheckpointInfo.__dataclass_fields__})
    except (ValueError, KeyError, TypeError) as problem:
        raise CortexCheckpointError(f"{path} is damaged: its description cannot be read ({problem!r})") from problem

"""Checkpoints: weights, buffers, the recurrent state and the spec of a stack in one safetensors file.

The tensors have the names of ``state_dict()``, so any tool that reads safetensors finds them; leaves of the state lie
under ``state/``. What the numbers mean (spec, versions) is one JSON text in the file's metadata. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from ..compiler.build import version
from ..cortex_dsl import CortexStackConfig
from ..cortex_dsl.suggest import did_you_mean
from .backends import effective_backend
from .checkpoint_file import FORMAT, CheckpointInfo, open_file, read_info, write_file
from .compile import compile_spec
from .errors import CortexCheckpointError
from .module import CompiledStack, as_dtype
from .spec_diff import spec_differences

STATE = "state/"  # before the path of a leaf of the state


def save_checkpoint(
    path: Path | str,
    stack: CompiledStack,
    state: TensorDict | None = None,
    *,
    extra: Mapping[str, str] | None = None,
) -> Path:
    """Write ``stack``, and the ``state`` that goes with it, to one safetensors file; ``extra`` is text of your own.

    The file appears whole or not at all: it is written beside its place and renamed. Raises CortexStateError for a
    state of another stack, CortexCheckpointError for what safetensors cannot hold, OSError where it cannot be written.
    """
    stack = _bare(stack)
    tensors = {name: _saved(name, value) for name, value in weights_of(stack).items()}
    rows = None
    if state is not None:
        rows = state.batch_size[0] if isinstance(state, TensorDict) and state.batch_size else 0
        leaves = stack.layout.unpack(state, rows, stack.device, stack.dtype)
        tensors |= {_leaf(p): _saved(_leaf(p), v) for p, v in zip(stack.layout.paths, leaves, strict=True)}
    about = CheckpointInfo(
        format=FORMAT,
        cortexc=version(),
        torch=torch.__version__,
        pattern=stack.pattern,
        part=stack._part,
        dtype=str(stack.dtype).removeprefix("torch."),
        rows=rows,
        spec=json.loads(stack._spec_json),
        extra=_texts(extra or {}),
    )
    write_file(Path(path), _unshared(tensors), about)
    return Path(path)


def load_checkpoint(
    path: Path | str,
    stack: CompiledStack | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    backend: str = "auto",
) -> tuple[CompiledStack, TensorDict | None]:
    """The stack of a checkpoint and its recurrent state (None if none was saved).

    Without ``stack`` the spec in the file is compiled, for ``backend``, on ``device``, in ``dtype`` (the file's own by
    default). With ``stack`` its parameters are filled in place, in its own dtype and on its own device; nothing is
    changed before everything was found to fit. Raises CortexCheckpointError for a file that is no checkpoint, is cut
    off or from a newer version, and for a stack of another spec; FileNotFoundError; CortexSpecError.
    """
    path = Path(path)
    file = open_file(path)
    about = read_info(path, file)
    if stack is None:
        stack = _compiled(path, about, device=device, dtype=dtype, backend=backend)
    else:
        if device is not None or dtype is not None:
            raise TypeError("device and dtype are for a stack still to be made; move the given one: stack.to(...)")
        stack = _bare(stack)
        _check_spec(path, about, stack)
    _check_tensors(path, file, stack, about)
    with torch.no_grad():
        for name, target in weights_of(stack).items():
            target.copy_(file.get_tensor(name))  # in place: packed weights stay side by side
    return stack, None if about.rows is None else _state(file, stack, about.rows)


def checkpoint_info(path: Path | str) -> CheckpointInfo:
    """What a checkpoint says of itself, without reading its tensors. Raises as :func:`load_checkpoint` does."""
    return read_info(Path(path), open_file(Path(path)))


def _bare(stack: Any) -> CompiledStack:
    """The stack itself, also out of torch.compile's wrapper."""
    found = getattr(stack, "_orig_mod", stack)
    if not isinstance(found, CompiledStack):
        raise TypeError(
            f"a checkpoint is of a compiled stack, got a {type(found).__name__}; "
            "give the stack inside it (often model.module), and keep the rest with torch.save(model.state_dict(), ...)"
        )
    return found


# -- writing -----------------------------------------------------------------------------------------------------------


def _leaf(path: tuple[str, ...]) -> str:
    return STATE + "/".join(path)


def weights_of(stack: CompiledStack) -> dict[str, Tensor]:
    """Parameters and buffers by name, as references. Raises CortexCheckpointError where one is no tensor."""
    found = stack.state_dict()
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise CortexCheckpointError(
                f"{name} is a {type(value).__name__}; a checkpoint holds tensors only: make it a buffer, or pass text "
                "as extra={...}"
            )
    return dict(found)


def _saved(name: str, value: Tensor) -> Tensor:
    if value.is_meta:
        raise CortexCheckpointError(
            f"{name} is on the meta device and has no numbers; "
            "give the stack memory first: stack.to_empty(device=...), then load its weights"
        )
    return value.detach().cpu().contiguous()


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tied weights have a copy under each of their names: safetensors refuses two names for one piece of memory."""
    seen: set[int] = set()
    found = {}
    for name, value in tensors.items():
        found[name] = value.clone() if value.numel() and value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return found


def _texts(extra: Mapping[str, str]) -> dict[str, str]:
    for key, value in extra.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"extra[{key!r}] is a {type(value).__name__}; keys and values are text (json.dumps helps)")
    return dict(extra)


# -- reading -----------------------------------------------------------------------------------------------------------


def _compiled(
    path: Path, about: CheckpointInfo, *, device: torch.device | str | None, dtype: Any, backend: str
) -> CompiledStack:
    """A stack of the file's spec. Its starting values are overwritten, so drawing them leaves no trace in the RNG."""
    try:
        spec = CortexStackConfig.model_validate(about.spec)
    except ValueError as problem:
        raise CortexCheckpointError(
            f"{path} holds a spec that cortexc {version()} cannot read (written by cortexc {about.cortexc}); "
            f"where it names a part of your own, import that part first. {problem}"
        ) from problem
    target = torch.device(device) if device is not None else torch.get_default_device()
    devices = [target] if target.type == "cuda" else []
    with torch.random.fork_rng(devices):
        return compile_spec(
            spec,
            part=about.part,
            pattern=about.pattern,
            backend=effective_backend(backend),
            dtype=as_dtype(dtype or about.dtype),
            device=target,
        )


def _check_spec(path: Path, about: CheckpointInfo, stack: CompiledStack) -> None:
    lines = spec_differences(about.spec, json.loads(stack._spec_json))
    if about.part != stack._part:
        lines.insert(0, f"it is a {about.part} by itself; the stack was compiled from a {stack._part}")
    if lines:
        raise CortexCheckpointError(
            f"{path} holds {about.pattern!r}, which is not the spec of this stack ({stack.pattern!r}):\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nload it without a stack to compile the spec of the file, or compile a stack of the same spec"
        )


def _check_tensors(path: Path, file: Any, stack: CompiledStack, about: CheckpointInfo) -> None:
    """Every tensor that the stack and its state need is there, in its shape, and no other."""
    wanted = {name: list(value.shape) for name, value in weights_of(stack).items()}
    if about.rows is not None:
        shapes = zip(stack.layout.paths, stack.layout.shapes, strict=True)
        wanted |= {_leaf(p): [about.rows, *shape] for p, shape in shapes}
    held = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    lines = [f"missing {n}{did_you_mean(n, held.keys() - wanted)}" for n in wanted if n not in held]
    lines += [f"surplus {n} {shape}" for n, shape in held.items() if n not in wanted]
    lines += [
        f"{n} has shape {held[n]} in the file, {shape} in the stack"
        for n, shape in wanted.items()
        if n in held and held[n] != shape
    ]
    if lines:
        rest = [f"  … and {len(lines) - 10} more"] if len(lines) > 10 else []
        raise CortexCheckpointError(
            f"{path} does not fit the stack ({stack.pattern!r}):\n"
            + "\n".join([*(f"  {line}" for line in lines[:10]), *rest])
            + "\na stack that was changed after compiling (parametrised weights, replaced layers) has to be changed "
            "in the same way before it is loaded into"
        )


def _state(file: Any, stack: CompiledStack, rows: int) -> TensorDict:
    """The saved state in the dtypes and on the device of the stack."""
    like = stack.layout.initial(0, stack.device, stack.dtype)
    leaves = tuple(
        file.get_tensor(_leaf(p)).to(start.device, start.dtype, copy=True)  # the file itself may be overwritten
        for p, start in zip(stack.layout.paths, like, strict=True)
    )
    return stack.layout.pack(leaves, rows)

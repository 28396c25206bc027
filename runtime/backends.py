"""Which backend really runs: what was asked for, what this machine and its switches allow. Falls back aloud."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings

from ..compiler.passes.choose_kernels import CHOSEN
from ..cortex_dsl import CoreConfig
from ..cortex_dsl.equations import known_recurrences
from ..cortex_dsl.spec.base import kinds
from ..cortex_dsl.suggest import did_you_mean
from ..kernels.switches import SWITCHES, triton_disabled
from .errors import CortexWarning

__all__ = ["SWITCHES", "check_device", "effective_backend", "set_backend", "triton_disabled"]

FOR_A_CORE = ("reference", "eager", "triton", "auto")


def set_backend(core: str | CoreConfig | type[CoreConfig], backend: str | None) -> None:
    """Run one kind of core on another backend than the rest of a stack, in every stack compiled from now on.

    ``core`` is its config, class or name (``"slstm"``, ``"conv"``; a recurrence by its own name, ``"gru"``);
    ``backend`` one of reference, eager, triton, auto, or None for that of the stack again. It goes by what runs: the
    convolution in front of M and S goes with ``"conv"``, an AxonLayer inside a core with ``"axon"``. Numbers stay the
    same; stacks that are there stay as they are. Raises ValueError for a name that is none.
    """
    name = getattr(core, "cell", core.kind) if isinstance(core, CoreConfig) else core
    name = name if isinstance(name, str) else name.model_fields["kind"].default
    known = sorted({*kinds("core"), *known_recurrences()} - {"recurrence"})
    if name not in known:
        raise ValueError(f"core is {name!r}; expected one of {', '.join(known)}{did_you_mean(name, known)}")
    if backend is None:
        CHOSEN.pop(name, None)
    elif backend in FOR_A_CORE:
        CHOSEN[name] = backend
    else:
        raise ValueError(f"backend is {backend!r}; expected one of {', '.join(FOR_A_CORE)} for a core, or None")


def effective_backend(backend: str) -> str:
    """The backend to compile for. ``auto`` and ``triton`` become ``eager`` under a switch or without Triton."""
    if backend not in ("auto", "triton"):
        return backend
    if triton_disabled():
        return "eager"
    if importlib.util.find_spec("triton") is None:
        if backend == "triton":
            _warn("W401 triton is not installed, so the stack runs on torch operators; pip install triton (Linux)")
        return "eager"
    return backend


def check_device(backend: str, device_type: str) -> None:
    """Say so when the backend that was asked for cannot be what runs on this device."""
    if backend == "triton" and device_type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        _warn(f"W402 backend 'triton' on {device_type}: Triton kernels need a GPU, so recurrences run on torch here")
    if backend == "inductor" and device_type == "cpu" and not any(map(shutil.which, _compilers())):
        _warn("W403 backend 'inductor' on a CPU needs a C++ compiler and none was found; torch.compile will fail")


def _compilers() -> tuple[str, ...]:
    return (os.environ.get("CXX", "g++"), "g++", "clang++", "c++")


def _warn(text: str) -> None:
    warnings.warn(text, CortexWarning, stacklevel=4)

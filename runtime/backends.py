"""Which backend really runs: what was asked for, what this machine and its switches allow. Falls back aloud."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings

from ..kernels.switches import SWITCHES, triton_disabled
from .errors import CortexWarning

__all__ = ["SWITCHES", "check_device", "effective_backend", "triton_disabled"]


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

"""`compile` and `load`: from a pattern, or from a package on disk, to a module."""

from __future__ import annotations

from pathlib import Path

import torch

from ..compiler import build
from ..compiler.alone import as_stack
from ..cortex_dsl import CortexStackConfig, parse
from ..cortex_dsl.spec import Node
from .backends import effective_backend
from .loader import store
from .module import CompiledStack, as_dtype


def compile(
    pattern: str | Node,
    *,
    d_hidden: int = 256,
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> CompiledStack:
    """Compile a pattern such as ``"AXMS x4"``, or the config of a stack, scaffold, cell or core, into an nn.Module.

    ``d_hidden`` is the width of x (a spec has its own); ``backend`` one of auto, triton, eager, inductor, reference;
    ``dtype`` of the parameters defaults to torch's default dtype. Raises CortexSyntaxError, CortexSpecError,
    ValueError.
    """
    config = parse(pattern, d_hidden=d_hidden) if isinstance(pattern, str) else pattern
    spec, part = as_stack(config, d_hidden)
    return compile_spec(
        spec,
        part=part,
        pattern=pattern if isinstance(pattern, str) else None,
        backend=effective_backend(backend),
        dtype=as_dtype(dtype) if dtype is not None else torch.get_default_dtype(),
        device=device,
    )


def compile_spec(
    spec: CortexStackConfig,
    *,
    part: str,
    pattern: str | None,
    backend: str,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> CompiledStack:
    """The module of a spec, or of the one ``part`` that it holds, for a backend that runs here."""
    name = str(dtype).removeprefix("torch.")
    artifact = build(spec, backend=backend, dtype=name, pattern=pattern, part=part)
    return CompiledStack(store(artifact), dtype=dtype, device=device)


def load(
    path: Path | str,
    *,
    backend: str | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> CompiledStack:
    """A fresh module from a package folder that ``cortexc compile`` wrote. Raises CortexLoadError if it is none."""
    return CompiledStack(path, backend=backend, dtype=dtype, device=device)

"""The library that stacks are imported from, as its wheel has it. Selected with ``-m peers``; never skipped."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

HOW = """CORTEXC_PEER_PATH names no folder that holds the package `cortex` of cortexcore 0.1.6. Make one:
    pip download --no-deps --python-version 3.12 --only-binary=:all: cortexcore==0.1.6 -d /tmp/peer
    python -m zipfile -e /tmp/peer/cortexcore-0.1.6-py3-none-any.whl /tmp/peer
    CORTEXC_PEER_PATH=/tmp/peer make test-peers"""


class _Transformers(ModuleType):
    """Stands in for transformers, which cortexcore imports for something that is not used here."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@pytest.fixture(scope="session")
def cortex() -> Iterator[SimpleNamespace]:
    """Its builders and configs; torch.compile off, since it wraps a scan in it whatever the device."""
    folder = Path(os.environ.get("CORTEXC_PEER_PATH", "/nowhere"))
    if not (folder / "cortex" / "stacks").is_dir():
        raise RuntimeError(HOW)
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(folder)
    patch.setattr(torch._dynamo.config, "disable", True)
    if importlib.util.find_spec("transformers") is None:
        patch.setitem(sys.modules, "transformers", _Transformers("transformers"))
    import cortex as package
    from cortex import config
    from cortex.cells.xl import XLCell
    from cortex.kernels.pytorch import srht
    from cortex.stacks import build_cortex_auto_stack

    yield SimpleNamespace(
        build=package.build_cortex, auto=build_cortex_auto_stack, config=config, XLCell=XLCell, srht=srht
    )
    patch.undo()


@contextmanager
def in_float64(cortex: SimpleNamespace) -> Iterator[None]:
    """cortexcore's casts to float32 inside a float64 model (softmaxes, positions) left out, so that it computes in
    float64 throughout. Only around calls of that library: ours must need no such help."""

    def wide(convert: Any) -> Any:
        def call(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            narrows = convert is to_float or torch.float32 in (*args, *kwargs.values())
            return tensor if tensor.dtype == torch.float64 and narrows else convert(tensor, *args, **kwargs)

        return call

    def positions(self: Any, length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        distance = torch.arange(length - 1, -1, -1, device=device, dtype=dtype)
        angle = torch.outer(distance, 10000 ** (-torch.arange(0, self.d_model, 2, dtype=dtype) / self.d_model))
        return torch.cat([angle.sin(), angle.cos()], 1)

    to_float = Tensor.float
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", wide(Tensor.float))
        patch.setattr(Tensor, "to", wide(Tensor.to))
        patch.setattr(cortex.XLCell, "_relative_positions", positions)
        yield


def walsh_hadamard(x: Tensor) -> Tensor:
    """What cortexcore's ``_fwht_`` computes on CUDA: each stage takes (a, b) to (a + b, a - b), from the old values."""
    half = 1
    while half < x.shape[1]:
        a, b = x.view(len(x), -1, 2, half).clone().unbind(2)
        x.copy_(torch.stack((a + b, a - b), 2).reshape(x.shape))
        half *= 2
    return x

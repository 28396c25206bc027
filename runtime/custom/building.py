"""What a module is being built for: parts made inside a user's ``__init__`` follow the stack around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_BACKEND: ContextVar[str] = ContextVar("cortexc_backend", default="auto")


def current_backend() -> str:
    """The backend of the stack that is being built; auto outside of one."""
    return _BACKEND.get()


@contextmanager
def building(backend: str, dtype: torch.dtype, device: torch.device | str) -> Iterator[None]:
    """New tensors are of this dtype and on this device; narrow dtypes start in float32 and are cast after."""
    before = torch.get_default_dtype()
    token = _BACKEND.set(backend)
    torch.set_default_dtype(torch.float64 if dtype == torch.float64 else torch.float32)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)
        _BACKEND.reset(token)

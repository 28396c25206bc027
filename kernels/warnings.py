"""The category of every warning of cortexc, and saying a thing once."""

from __future__ import annotations

import warnings

import torch

_SAID: set[str] = set()


class CortexWarning(UserWarning):
    """Something works, and not as fast or not where it was asked to. The text starts with a code."""


@torch.compiler.assume_constant_result  # under torch.compile it speaks while the graph is made
def warn_once(text: str, stacklevel: int = 2) -> None:
    """Warn unless this process has heard the same text before: a loop calls an operator a million times."""
    if text in _SAID:
        return
    _SAID.add(text)
    warnings.warn(text, CortexWarning, stacklevel=stacklevel)

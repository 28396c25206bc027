"""What the runtime says when it is called wrongly: the thing, what was got, what was expected."""

from __future__ import annotations

from ..kernels.foreign import CortexPartError
from ..kernels.warnings import CortexWarning

__all__ = [
    "CortexCheckpointError",
    "CortexInputError",
    "CortexLoadError",
    "CortexPartError",
    "CortexStateError",
    "CortexWarning",
]


class CortexInputError(ValueError):
    """``x`` or ``resets`` does not fit the stack."""


class CortexStateError(ValueError):
    """A state that this stack did not make: keys missing or surplus, or a leaf of the wrong shape, dtype or device."""


class CortexLoadError(RuntimeError):
    """A folder that is not a compiled package, or was written by another version."""


class CortexCheckpointError(RuntimeError):
    """A file that is no checkpoint, or one that does not fit the stack it is loaded into."""

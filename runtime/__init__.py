"""What a user holds: the compiled module, its state, the step engine, and how generated code is loaded."""

from .compile import compile, load
from .errors import CortexInputError, CortexLoadError, CortexStateError, CortexWarning
from .module import CompiledStack

__all__ = [
    "CompiledStack",
    "CortexInputError",
    "CortexLoadError",
    "CortexStateError",
    "CortexWarning",
    "compile",
    "load",
]

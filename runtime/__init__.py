"""What a user holds: the compiled module, its state, the step engine, and how generated code is loaded."""

from .adapters import set_trunk_lr_mult_
from .backends import set_backend
from .checkpoint import CheckpointInfo, checkpoint_info, load_checkpoint, save_checkpoint
from .compile import compile, load
from .dropout import set_dropout_seed_
from .errors import (
    CortexCheckpointError,
    CortexInputError,
    CortexLoadError,
    CortexPartError,
    CortexStateError,
    CortexWarning,
)
from .import_cortexcore import import_checkpoint
from .import_cortexcore_notes import cortexcore_differences
from .module import CompiledStack
from .tune import Tuning, tune

__all__ = [
    "CheckpointInfo",
    "CompiledStack",
    "CortexCheckpointError",
    "CortexInputError",
    "CortexLoadError",
    "CortexPartError",
    "CortexStateError",
    "CortexWarning",
    "Tuning",
    "checkpoint_info",
    "compile",
    "cortexcore_differences",
    "import_checkpoint",
    "load",
    "load_checkpoint",
    "save_checkpoint",
    "set_backend",
    "set_dropout_seed_",
    "set_trunk_lr_mult_",
    "tune",
]

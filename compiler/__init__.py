"""spec -> graph -> plan -> source. Imports no torch: it writes code, it does not run it."""

from .artifact import Artifact, default_name
from .build import build, version
from .pipeline import BACKENDS
from .report import Note, Report, Row

__all__ = ["BACKENDS", "Artifact", "Note", "Report", "Row", "build", "default_name", "version"]

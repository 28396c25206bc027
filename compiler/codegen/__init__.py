"""A planned program -> readable Python files."""

from .module import emit_program
from .package import emit_package

__all__ = ["emit_package", "emit_program"]

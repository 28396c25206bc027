"""The command line. Nothing here imports torch before a verb needs it."""

from .app import main

__all__ = ["main"]

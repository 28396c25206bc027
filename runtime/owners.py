"""The modules of users that a compiled package needs: imported before its spec is read."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from ..compiler.library import foreign
from ..cortex_dsl.spec import kinds
from .errors import CortexLoadError


def import_owners(owners: Sequence[Sequence[str]]) -> None:
    """Import what registers each (family, kind). Raises CortexLoadError naming the module that is missing."""
    for family, kind, module in owners:
        if _known(family, kind):
            continue
        if module == "__main__":
            raise CortexLoadError(
                f"this package holds {kind}, which was registered in a program that ran as __main__; move the class to "
                "a module that can be imported, and compile again"
            )
        try:
            import_module(module)
        except ImportError as problem:
            raise CortexLoadError(
                f"this package holds {kind} of the module {module}, which cannot be imported ({problem}); install it, "
                "or put its folder on the path"
            ) from problem
        if not _known(family, kind):
            raise CortexLoadError(
                f"this package holds {kind}; importing {module} did not register it: @register_{family} belongs at the "
                "top of that module"
            )


def _known(family: str, kind: str) -> bool:
    config = kinds(family).get(kind)
    return config is not None and foreign.find(config) is not None

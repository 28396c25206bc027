"""`register_recurrence`: a recurrence of one's own as a core that a pattern can name."""

from __future__ import annotations

from typing import Any

from ....cortex_dsl import Node, PostUpGatedScaffoldConfig, RecurrenceCoreConfig, Registry, default_registry
from ....cortex_dsl.spec.cells import with_core
from ...recurrence import Recurrence
from . import EQUATIONS


def register_recurrence(
    recurrence: Recurrence,
    *,
    token: str | None = None,
    scaffold: Node | None = None,
    registry: Registry | None = None,
    **options: Any,
) -> RecurrenceCoreConfig:
    """Make a recurrence a core: ``RecurrenceCoreConfig(cell=name)``, ``recurrence(cell=name)`` in a text.

    With ``token`` the core, with ``options`` of :class:`RecurrenceCoreConfig` set, inside ``scaffold`` (post-up, gated,
    if none is given) becomes a token of patterns too. Returns the core's config. Registering the same name again
    replaces it. Raises TypeError or ValueError for what is no recurrence, and for names that are taken.
    """
    EQUATIONS.add(recurrence)
    core = RecurrenceCoreConfig(cell=recurrence.name, **options)
    if token is not None:
        around = PostUpGatedScaffoldConfig() if scaffold is None else scaffold
        (registry or default_registry()).add(token, with_core(around, core))
    return core

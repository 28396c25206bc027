"""A pause of Python's cycle collector, for work that makes many small objects which all stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without it a third of the time for a thousand layers goes into looking for garbage that is not there.

    What is made in the meantime is bounded: a text has a limit. Nested uses and a collector that is off already are
    left as they are.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

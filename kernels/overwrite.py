"""State that a step may write to: an engine which alone holds it says so, and a large memory is updated in place.

Everything else is pure: what a caller passes in is never written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

CACHE = 3 << 19  # bytes that stay close to one core of a CPU: large memories are updated in pieces of this size

_free: set[int] = set()  # ids of tensors that the engines inside `overwriting` hold, so no other object has them


@contextmanager
def overwriting(leaves: Sequence[Tensor]) -> Iterator[None]:
    """Inside, ops on a CPU may write to these leaves, and to the whole storage of each: nobody reads it afterwards.

    An op which does so must be the last in generated code that reads the leaf, and return what it wrote.
    """
    ids = [id(leaf) for leaf in leaves]
    _free.update(ids)
    try:
        yield
    finally:
        _free.difference_update(ids)


def may_overwrite(leaf: Tensor) -> bool:
    """Whether the op that reads this leaf of the state may write to it."""
    if torch.compiler.is_compiling() or not _free:  # a compiler would guard on the id
        return False
    return id(leaf) in _free and leaf.is_cpu and not torch.is_grad_enabled()


def rows_in_cache(row_bytes: int) -> int:
    """How many rows of so many bytes the cores that torch uses hold close at once; one at least."""
    return max(1, CACHE * torch.get_num_threads() // max(1, row_bytes))

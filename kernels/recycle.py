"""Memory for large states on a CPU, used again once nobody holds it.

A step is pure: it writes a new state beside the old one, which its caller then lets go. For tens of megabytes the
system hands out fresh pages each time, zeroes them one by one and takes them back, which can cost more than all else
the step does with them. Inside `recycling` the memory of a state that has died is what the next one is written to.
"""

from __future__ import annotations

import mmap
import threading
import weakref
from collections import Counter
from collections.abc import Sequence
from functools import partial
from types import TracebackType

import torch
from torch import Tensor

LARGE = 1 << 20  # bytes; smaller tensors are the allocator's business


class Pool:
    """Buffers that were handed out and came back: of each size as many as one call takes, and no more. Whoever owns the
    pool owns them."""

    def __init__(self) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}
        self._lent: dict[int, weakref.ref[memoryview]] = {}
        self._taken: Counter[int] = Counter()  # by the present call
        self._wanted: Counter[int] = Counter()  # by any call at most
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A call begins."""
        self._taken = Counter()

    def take(self, size: int) -> memoryview:
        """`size` bytes that nobody else has, until this view of them dies."""
        with self._lock:
            self._taken[size] += 1
            self._wanted[size] = max(self._wanted[size], self._taken[size])
            spare = self._free.get(size)
            if spare:
                buffer = spare.pop()
            else:
                self._free.clear()  # of other sizes: calls have changed
                buffer = _mapped(size)
            lease = memoryview(buffer)
            self._lent[id(buffer)] = weakref.ref(lease, partial(_give_back, weakref.ref(self), buffer))
        return lease


def _give_back(pool: weakref.ref[Pool], buffer: mmap.mmap, _: weakref.ref[memoryview]) -> None:
    """Without the lock, which this thread may hold: what it does to each table is one operation."""
    owner = pool()
    if owner is None:
        return
    size = len(buffer)
    owner._lent.pop(id(buffer), None)
    spare = owner._free.setdefault(size, [])
    if len(spare) < owner._wanted[size]:
        spare.append(buffer)


def _mapped(size: int) -> mmap.mmap:
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # a fork has its own
    if hasattr(mmap, "MADV_HUGEPAGE"):
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


class _Local(threading.local):
    pool: Pool | None = None


_here = _Local()


class recycling:
    """Inside, `empty` takes large memory from this pool; with None, from the allocator."""

    def __init__(self, pool: Pool | None) -> None:
        self._pool = pool

    def __enter__(self) -> None:
        self._before, _here.pool = _here.pool, self._pool
        if self._pool is not None:
            self._pool.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _here.pool = self._before


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Dense memory for a tensor of this shape, of the dtype and on the device of another. Its values are undefined."""
    found = _recycled(shape, like)
    return like.new_empty(shape) if found is None else found


def cat(tensors: list[Tensor], dim: int) -> Tensor:
    """`torch.cat` of tensors of one dtype without gradients."""
    first = tensors[0]
    shape = list(first.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    found = _recycled(shape, first)
    return torch.cat(tensors, dim) if found is None else torch.cat(tensors, dim, out=found)


def _recycled(shape: Sequence[int], like: Tensor) -> Tensor | None:
    if torch.compiler.is_compiling() or _here.pool is None or not like.is_cpu:
        return None
    size = like.element_size() * torch.Size(shape).numel()
    return None if size < LARGE else torch.frombuffer(_here.pool.take(size), dtype=like.dtype).view(shape)

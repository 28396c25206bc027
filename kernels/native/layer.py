"""`Layer`: the step of one layer in C++, in front of its form in torch.

A step of a small stack is hundreds of operators on a few thousand numbers: on a CPU, asking torch for them takes longer
than computing them, and a large state passes through memory once an operator. In C++ the layer is one call. Its form in
torch stays: it computes what this does not take (other dtypes, gradients, torch.compile, no compiler), and is what this
is tested against.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import Parameter

from ..overwrite import may_overwrite
from ..recycle import LARGE, empty
from ..xl.memory import relative_positions
from ..xl.step import moved_on
from .library import Native

Tensors = tuple[Tensor, ...]
Step = Callable[..., tuple[Tensor, Tensors]]
# dtype word and shape of a row of a state, and how its next value may be written where an engine allows it: "in place",
# or in a "window" that moves along its buffer
State = tuple[str, tuple[int, ...], str]

KEPT = 1 << 23  # numbers of scratch memory that a thread keeps
DTYPES = {"f": torch.float32, "acc": torch.float32, "i64": torch.int64, "bool": torch.bool}


class Layer:
    """A generated function and what goes into it; a decorator of the layer's form in torch."""

    def __init__(
        self,
        name: str,
        operands: Callable[[Any], Tensors],
        *,
        shapes: tuple[tuple[str, tuple[int, ...]], ...],
        packs: tuple[tuple[int, ...], ...],
        positions: tuple[tuple[int, int], ...],
        width: int,
        states: tuple[State, ...],
        scratch: tuple[int, int],
        source: str,
    ) -> None:
        self.native = Native(name, source)
        self._operands, self._shapes, self._packs, self._positions = operands, shapes, packs, positions
        self._width, self._states, self._scratch_size = width, states, scratch
        sizes = [torch.Size(shape).numel() for _, shape, _ in states]
        self._widths = [width, *sizes, width, *sizes]  # of a row, of what goes in and out
        self._known: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()  # addresses that were found right
        self._memory = threading.local()

    def __call__(self, function: Step) -> Step:
        @functools.wraps(function)
        def step(p: Any, x: Tensor, state: Tensors, resets: Tensor | None) -> tuple[Tensor, Tensors]:
            if not torch.compiler.is_compiling() and self.native.usable():
                made = self._run(p, x, state, resets)
                if made is not None:
                    return made
            return function(p, x, state, resets)

        return step

    def _run(self, p: Any, x: Tensor, state: Tensors, resets: Tensor | None) -> tuple[Tensor, Tensors] | None:
        """The step; None for operands that it does not take."""
        params = self._operands(p)
        addresses = [t.data_ptr() for t in params]
        if addresses != self._known.get(p) or not all(map(Tensor.is_contiguous, params)):
            if not self._right(params, addresses):
                return None
            self._known[p] = addresses
        rows = x.shape[0]
        if not rows or not _is(x, "f", (rows, self._width)):
            return None
        if not all(_is(leaf, word, (rows, *shape)) for leaf, (word, shape, _) in zip(state, self._states, strict=True)):
            return None
        if resets is not None and not _is(resets, "bool", (rows,)):
            return None
        # What the addresses belong to stays alive until the call is over.
        read = [_dense_rows(t) for t in (x, *state)]
        y = x.new_empty(x.shape)
        after = tuple(self._after(leaf, how) for leaf, (_, _, how) in zip(state, self._states, strict=True))
        tables = [relative_positions(*size, torch.float32, x.device) for size in self._positions]
        mask = None if resets is None else resets.contiguous()
        memory = self._scratch(rows)
        given = [rows, torch.get_num_threads(), 0 if mask is None else mask.data_ptr(), memory.data_ptr()]
        for t, width in zip((*read, y, *after), self._widths, strict=True):
            given += (t.data_ptr(), width if rows == 1 else t.stride(0))
        self.native([*given, *addresses, *(t.data_ptr() for t in tables)])
        return y, after

    def _right(self, params: Sequence[Tensor], addresses: list[int]) -> bool:
        """Whether the parameters are what the function reads: plain, dense, in memory, and where a pack needs them."""
        for t, (word, shape) in zip(params, self._shapes, strict=True):
            if type(t) not in (Tensor, Parameter) or t.dtype is not DTYPES[word] or not t.is_cpu:
                return False
            if t.shape != shape or not t.is_contiguous():
                return False
        ends = [address + t.numel() * t.element_size() for address, t in zip(addresses, params, strict=True)]
        return all(ends[a] == addresses[b] for pack in self._packs for a, b in pairwise(pack))

    def _after(self, leaf: Tensor, how: str) -> Tensor:
        """Memory for the next value of a state."""
        if how == "window" and may_overwrite(leaf):
            return moved_on(leaf)
        if how == "in place" and leaf.is_contiguous() and may_overwrite(leaf):
            return leaf
        if leaf.numel() * leaf.element_size() >= LARGE:
            return empty(leaf.shape, leaf)
        return torch.empty_like(leaf, memory_format=torch.contiguous_format)

    def _scratch(self, rows: int) -> Tensor:
        """Memory of this thread for what lives inside one call; kept for the next one unless it is large."""
        each, fixed = self._scratch_size
        size = each * rows + fixed
        found: Tensor | None = getattr(self._memory, "tensor", None)
        if found is None or found.numel() < size:
            with torch.inference_mode(False):
                found = torch.empty(size, dtype=torch.float32, device="cpu")
            if size <= KEPT:
                self._memory.tensor = found
        return found


def together(*layers: Layer) -> None:
    """The layers of a package: when the first is asked for, all are compiled side by side."""
    for layer in layers:
        layer.native.beside = tuple(other.native for other in layers)


def _is(t: Tensor, word: str, shape: tuple[int, ...]) -> bool:
    """Whether this is an ordinary tensor in memory, of this dtype and shape."""
    return t.shape == shape and t.dtype is DTYPES[word] and type(t) is Tensor and t.is_cpu


def _dense_rows(t: Tensor) -> Tensor:
    """The tensor itself, if each of its rows is dense; else a copy."""
    return t if t.is_contiguous() or t[0].is_contiguous() else t.contiguous()

"""Several parameters as the one weight of a merged matrix product, without copying them at every call.

`lay_out` puts parameters back to back in one buffer; `pack` then hands out that buffer. The parameters stay what they
were (same objects, names, in-place updates), and whatever moves one of them out of the buffer (deepcopy, a cast,
assigning .data) only makes `pack` fall back to torch.cat: it looks at the memory anew in every call.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter


def pack(*tensors: Tensor) -> Tensor:
    """The concatenation of the tensors along dim 0: a view where they lie back to back, else a copy. For reading only.

    Each tensor gets its slice of the gradient either way. Writing to one of them between a forward and its backward
    raises, as it does for a weight that is used directly.
    """
    if len(tensors) == 1:
        return tensors[0]
    if torch.compiler.is_compiling():
        return torch.cat(tensors)
    if torch.is_grad_enabled():
        return _Packed.apply(*tensors) if _back_to_back(tensors) else torch.cat(tensors)
    known = _views.get(id(tensors[0]))
    if known is not None and known.shows(tensors):
        return known.view
    if not _back_to_back(tensors):
        return torch.cat(tensors)
    return _remembered(tensors)


def lay_out(parameters: Sequence[Parameter]) -> None:
    """Move the data of the parameters into one flat buffer, in this order. One dtype and one device."""
    with torch.no_grad():
        flat = torch.cat([p.detach().reshape(-1) for p in parameters])
        offset = 0
        for parameter in parameters:
            size = parameter.numel()
            parameter.data = flat[offset : offset + size].view(parameter.shape)
            _views.pop(id(parameter), None)  # which would keep the memory that it left
            offset += size


class _View(NamedTuple):
    """What `pack` handed out, which keeps the buffer, and so the addresses that it was made from, alive."""

    first: weakref.ref[Tensor]
    addresses: list[int]
    view: Tensor

    def shows(self, tensors: Sequence[Tensor]) -> bool:
        """Whether these tensors lie where those did that the view was made from: a step asks a hundred times."""
        if torch._C._are_functorch_transforms_active():
            return False
        addresses = []
        for t in tensors:
            if type(t) is not Parameter or not t.is_contiguous():
                return False
            addresses.append(t.data_ptr())
        return addresses == self.addresses


_views: dict[int, _View] = {}  # by the id of the first parameter, as long as it lives


def _remembered(tensors: Sequence[Tensor]) -> Tensor:
    first, *rest = tensors
    key = id(first)
    with torch.inference_mode(False):
        view = _joined([first.data, *rest])  # a view of the parameter itself would keep it alive
    if type(first) is Parameter:
        _views[key] = _View(weakref.ref(first, lambda _: _views.pop(key, None)), [t.data_ptr() for t in tensors], view)
    return view


class _Packed(torch.autograd.Function):
    """A view over tensors which autograd takes for unrelated."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        # The view shares the version counter of the first tensor alone; saving all lets autograd check every one.
        ctx.save_for_backward(*tensors)
        return _joined(tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return grad.split([t.shape[0] for t in ctx.saved_tensors])


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """The memory of tensors that lie back to back, as one tensor. Called where autograd does not look."""
    first = tensors[0]
    rows = sum(t.shape[0] for t in tensors)
    return first.as_strided((rows, *first.shape[1:]), first.stride(), first.storage_offset())


def _back_to_back(tensors: Sequence[Tensor]) -> bool:
    """Whether the tensors are plain, contiguous, of one kind, and consecutive in one storage."""
    if torch._C._are_functorch_transforms_active():
        return False
    first, last = tensors[0], tensors[-1]
    if type(first) is not Parameter and type(first) is not Tensor:
        return False  # what stands for a tensor has no address
    start, size, place = first.data_ptr(), first.element_size(), 0
    dtype, tail = first.dtype, first.shape[1:]
    for t in tensors:
        if type(t) is not Parameter and type(t) is not Tensor:
            return False
        if t.data_ptr() != start + place or t.dtype != dtype or t.shape[1:] != tail or not t.is_contiguous():
            return False
        place += t.numel() * size
    # Two storages may touch by chance: in one, the first and the last count from the same place.
    return last.data_ptr() - start == (last.storage_offset() - first.storage_offset()) * size

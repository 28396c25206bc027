"""Ops that move no or few bytes. Only trailing dimensions ever change: ``B`` and ``T`` stay in front."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import Type, numel
from .table import Attrs, Op, Types, first, need


def _split(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """Cut the last axis into pieces of the given sizes."""
    x, sizes = first(types), attrs["sizes"]
    assert isinstance(sizes, tuple)
    widths = [int(s) for s in sizes]  # type: ignore[arg-type]
    need("split", sum(widths) == x.width, f"sizes {sizes} of a width {x.width}")
    return tuple(x.with_width(w) for w in widths)


def _cat(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """Join along the last axis, or along ``axis`` = -2."""
    x, axis = first(types), int(attrs.get("axis", -1))  # type: ignore[arg-type]
    shape = list(x.shape)
    shape[axis] = sum(t.shape[axis] for t in types if t is not None)  # type: ignore[misc]
    for t in types:
        assert t is not None
        rest = [d for i, d in enumerate(t.shape) if i != t.rank + axis]
        need("cat", rest == [d for i, d in enumerate(x.shape) if i != x.rank + axis], f"{t} beside {x}")
    return (Type(x.dtype, tuple(shape)),)


def _fold(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """Split the last axis into ``sizes`` (heads), or join the last ``join`` axes into one."""
    x = first(types)
    if "join" in attrs:
        n = int(attrs["join"])  # type: ignore[arg-type]
        width = 1
        for d in x.shape[-n:]:
            width *= int(d)
        return (Type(x.dtype, (*x.shape[:-n], width)),)
    sizes = attrs["sizes"]
    assert isinstance(sizes, tuple)
    width = 1
    for s in sizes:
        width *= int(s)  # type: ignore[arg-type]
    need("unflatten", width == x.width, f"sizes {sizes} of a width {x.width}")
    return (Type(x.dtype, (*x.shape[:-1], *(int(s) for s in sizes))),)  # type: ignore[arg-type]


def _stack(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """``[…, E, H]`` from E values ``[…, H]``: the experts of a column, side by side."""
    x = first(types)
    return (Type(x.dtype, (*x.shape[:-1], len(types), x.width)),)


def _view(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """A parameter seen in another shape."""
    x, shape = first(types), attrs["shape"]
    assert isinstance(shape, tuple)
    sizes = tuple(int(d) for d in shape)  # type: ignore[arg-type]
    need("view", numel(sizes) == numel(x.shape), f"{x} seen as {sizes}")
    return (Type(x.dtype, sizes),)


def _emit_cat(args: Sequence[str], attrs: Attrs) -> str:
    return f"torch.cat(({', '.join(args)},), {attrs.get('axis', -1)})"


OPS = [
    # torch.split asks in Python what it was given, at ten times the cost of what it calls.
    Op("split", "shape", _split, lambda a, k: f"{a[0]}.split_with_sizes({k['sizes']}, -1)"),
    Op("cat", "shape", _cat, _emit_cat),
    Op("unflatten", "shape", _fold, lambda a, k: f"{a[0]}.unflatten(-1, {k['sizes']})"),
    Op("flatten", "shape", _fold, lambda a, k: f"{a[0]}.flatten(-{k['join']})"),
    Op("stack", "shape", _stack, lambda a, k: f"torch.stack(({', '.join(a)},), -2)"),
    Op("view", "shape", _view, lambda a, k: f"{a[0]}.view({k['shape']})"),
    Op("alias", "shape", lambda t, k: (first(t),), lambda a, k: a[0]),
]

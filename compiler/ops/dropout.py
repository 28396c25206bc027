"""Dropout with one mask per row and episode: the keys that masks are drawn from, and what draws them.

Whether a part trains is read from the module at its path, so ``.train()`` and ``.eval()`` reach it as any module.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from ..ir.types import Type, numel
from .table import Attrs, Op, Types, first, need

Sizes = tuple[int, ...]


def _keys(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """counter, segments|resets -> keys (one for all steps where nothing is reset), counter'"""
    counter, mask = types
    assert counter is not None and mask is not None
    return (Type("i64", mask.shape), counter)


def _emit_keys(args: Sequence[str], attrs: Attrs) -> str:
    return f"{_keys_name(attrs)}({', '.join(args)})"


def _keys_name(attrs: Attrs) -> str:
    if attrs.get("impl") == "reference":
        return "dropout_keys_reference"
    return "dropout_keys_step" if attrs["mode"] == "step" else "dropout_keys"


def _dropout(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """x, keys -> x with channels dropped"""
    x, keys = types
    assert x is not None and keys is not None
    need("dropout", x.rank > keys.rank and x.shape[0] == keys.shape[0], f"keys {keys} for {x}")
    return (Type("f", x.shape),)


def _factors(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """keys, like (for its dtype) -> 0 or 1 / (1 - p), absent in eval"""
    keys = first(types)
    shape = keys.shape[:1] if attrs["first"] else keys.shape
    return (Type("acc", (*shape, *_sizes(attrs)), optional=True),)


def _sizes(attrs: Attrs) -> Sizes:
    sizes = attrs["sizes"]
    assert isinstance(sizes, tuple)
    return tuple(int(s) for s in sizes)  # type: ignore[arg-type]


def _call(function: str, args: Sequence[str], attrs: Attrs) -> str:
    plain = "_reference" if attrs.get("impl") == "reference" else ""
    return f"{function}{plain}({', '.join(args)}, {attrs['p']!r}, {site(attrs)}, {training(attrs)})"


def _emit_factors(args: Sequence[str], attrs: Attrs) -> str:
    text = _call("dropout_factors", [*args, str(_sizes(attrs))], attrs)
    return f"{text[:-1]}, first=True)" if attrs["first"] else text


def site(attrs: Attrs) -> str:
    """The number of a place with a mask of its own. It follows from its name, so every backend and mode agrees."""
    return f"0x{zlib.crc32(str(attrs['site']).encode()):08x}"


def training(attrs: Attrs) -> str:
    """Where the generated code reads the mode: ``p.experts[2].core.training``."""
    steps = (f"[{s}]" if s.isdigit() else f".{s}" for s in str(attrs["path"]).split(".") if s)
    return f"p{''.join(steps)}.training"


def _named(function: str) -> object:
    return lambda attrs: (f"{function}_reference" if attrs.get("impl") == "reference" else function,)


OPS = [
    Op("dropout_keys", "shape", _keys, _emit_keys, imports=lambda k: (_keys_name(k),)),
    Op(
        "dropout",
        "pointwise",
        _dropout,
        lambda a, k: _call("dropout", a, k),
        lambda i, o, k: numel(o[0].shape),
        imports=_named("dropout"),  # type: ignore[arg-type]
    ),
    Op(
        "dropout_factors",
        "pointwise",
        _factors,
        _emit_factors,
        imports=_named("dropout_factors"),  # type: ignore[arg-type]
    ),
]

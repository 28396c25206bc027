"""Routed adapters: what a low-rank map for each slot adds to a linear map (spec: routed adapters)."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import B, Dim, Type, numel
from .table import Attrs, Op, Types, first, need


def _low_rank(op: str, down: Type | None, up: Type | None, inputs: int, outputs: int) -> None:
    """``down [S, …, R, I]`` and ``up [S, …, O, R]``, where I and O count all heads."""
    assert down is not None and up is not None
    heads = numel(down.shape[1:-2])
    fits = down.shape[-2] == up.width and heads * down.width == inputs and heads * up.shape[-2] == outputs
    need(op, fits and down.shape[:-2] == up.shape[:-2], f"{down} and {up} on a map {inputs} -> {outputs}")


def _adapter(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """y, x, down, up, routes -> y + scale · B A x"""
    y, x, down, up = types[:4]
    assert y is not None and x is not None
    need("routed_adapter", y.shape[0] is B and x.shape[:-1] == y.shape[:-1], f"{y} and {x} are not one for each row")
    _low_rank("routed_adapter", down, up, x.width, y.width)
    return (Type("f", y.shape),)


def _adapter_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    y, x, down = first(types), types[1], types[2]
    assert x is not None and down is not None
    return 2 * numel(y.shape[:-1]) * int(down.shape[-2]) * (x.width + y.width)


def _emit_adapter(args: Sequence[str], attrs: Attrs) -> str:
    return f"{_adapter_name(attrs)}({', '.join(args)}, {attrs['scale']!r})"


def _adapter_name(attrs: Attrs) -> str:
    return "routed_adapter_reference" if attrs.get("impl") == "reference" else "routed_adapter"


def _weight(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """w, down, up, routes, dropout factors if any -> a weight for each row, seen as ``shape``"""
    w, down, up = types[:3]
    assert w is not None and down is not None and up is not None
    fits = down.shape[1:-2] == up.shape[1:-2] == w.shape[:-2]
    need("routed_weight", fits and (up.shape[-2], down.width) == w.shape[-2:], f"{down} and {up} on a weight {w}")
    shape = attrs["shape"]
    own = w.shape if shape is None else tuple(int(d) for d in shape)  # type: ignore[arg-type, union-attr]
    need("routed_weight", numel(own) == numel(w.shape), f"{w} seen as {own}")
    return (Type("f", (B, *own)),)


def _emit_weight(args: Sequence[str], attrs: Attrs) -> str:
    shape = "" if attrs["shape"] is None else f", {attrs['shape']}"
    drop = f", drop={args[4]}" if len(args) > 4 else ""
    return f"routed_weight({', '.join(args[:4])}, {attrs['scale']!r}{shape}{drop})"


def _per_row(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """What all rows share, seen as one for each: x, like (for its rows) -> ``[B, …]``"""
    x = first(types)
    need("per_row", B not in x.shape, f"{x} has rows already")
    return (Type(x.dtype, (B, *x.shape)),)


OPS = [
    Op(
        "routed_adapter",
        "gemm",
        _adapter,
        _emit_adapter,
        _adapter_flops,
        imports=lambda k: (_adapter_name(k),),
    ),
    # Once a call, whatever its length: no operations per token.
    Op("routed_weight", "gemm", _weight, _emit_weight, imports=lambda k: ("routed_weight",)),
    Op("per_row", "shape", _per_row, lambda a, k: f"per_row({', '.join(a)})", imports=lambda k: ("per_row",)),
]

"""Matrix products with parameters."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import Dim, Type, numel
from .table import Attrs, Op, Types, first, need


def _linear(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """``y[…, O] = x[…, I] @ w[O, I].T + b[O]``"""
    x, w = first(types), types[1]
    assert w is not None
    need("linear", w.rank == 2 and w.shape[1] == x.width, f"weight {w} does not take an input of width {x.width}")
    return (Type("f", (*x.shape[:-1], w.shape[0])),)


def _linear_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    return 2 * numel(outs[0].shape) * first(types).width


def _call(function: str) -> object:
    return lambda args, attrs: f"{function}({', '.join(a for a in args if a != 'None')})"


def _pack(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """Weights of the same input, one above the other, so that one product serves them all."""
    tail = {t.shape[1:] for t in types if t is not None}
    need("pack", len(tail) == 1, f"cannot stack {', '.join(map(str, types))}")
    return (Type("f", (sum(int(t.shape[0]) for t in types if t is not None), *tail.pop())),)


def _head_linear(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """Per-head square maps, several at once: ``y[…, g, n·D + o] = Σ_d w_g[n, o, d] · x[…, n·D + d]``."""
    x = first(types)
    for w in types[1:]:
        assert w is not None
        need("head_linear", w.rank == 3 and int(w.shape[0]) * int(w.shape[2]) == x.width, f"{w} against {x}")
    return (Type("f", (*x.shape[:-1], len(types) - 1, x.width)),)


def _head_linear_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    w = types[1]
    assert w is not None
    return 2 * numel(outs[0].shape) * int(w.shape[2])


def _emit_head_linear(args: Sequence[str], attrs: Attrs) -> str:
    return f"head_linear({args[0]}, ({', '.join(args[1:])},))"


def _transposed(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """``y[…, I] = x[…, O] @ w[O, I]``: a weight used backwards."""
    x, w = first(types), types[1]
    assert w is not None
    need("linear_t", w.rank == 2 and w.shape[0] == x.width, f"weight {w} has no {x.width} rows")
    return (Type("f", (*x.shape[:-1], w.shape[1])),)


def _srht(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """A fixed rotation of the channels: x, permutation, signs -> y; kernels/srht"""
    x = first(types)
    need("srht", all(t is not None and t.shape == (x.width,) for t in types[1:]), f"signs and order against {x}")
    return (Type("f", x.shape),)


def _srht_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    return numel(outs[0].shape) * max(1, outs[0].width.bit_length() - 1)


def _srht_name(attrs: Attrs) -> str:
    return "srht_reference" if attrs.get("impl") == "reference" else "srht"


def _linear_name(attrs: Attrs) -> str:
    return "linear_step" if attrs.get("impl") == "step" else "F.linear"


OPS = [
    Op(
        "srht",
        "gemm",
        _srht,
        lambda a, k: f"{_srht_name(k)}({', '.join(a)})",
        _srht_flops,
        imports=lambda k: (_srht_name(k),),
    ),
    Op(
        "linear",
        "gemm",
        _linear,
        lambda a, k: f"{_linear_name(k)}({', '.join(i for i in a if i != 'None')})",
        _linear_flops,
        imports=lambda k: ("linear_step",) if k.get("impl") == "step" else (),
    ),
    Op("linear_t", "gemm", _transposed, lambda a, k: f"{a[0]} @ {a[1]}", _linear_flops),
    Op("pack", "shape", _pack, _call("pack"), imports=lambda k: ("pack",)),  # type: ignore[arg-type]
    Op(
        "head_linear",
        "gemm",
        _head_linear,
        _emit_head_linear,
        _head_linear_flops,
        imports=lambda k: ("head_linear",),
    ),
]

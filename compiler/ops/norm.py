"""Norms and softmax."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import Dim, Type, numel
from .table import Attrs, Op, Types, first, need


def _same(name: str) -> object:
    def infer(types: Types, attrs: Attrs) -> tuple[Type, ...]:
        x, w = first(types), types[1] if len(types) > 1 else None
        need(name, w is None or w.shape == (x.width,), f"weight {w} for an input of width {x.width}")
        return (Type("f", x.shape),)

    return infer


def _flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    return 5 * numel(outs[0].shape)


def _layer_norm(args: Sequence[str], attrs: Attrs) -> str:
    return f"torch.layer_norm({args[0]}, ({attrs['width']},), {', '.join(args[1:])})"


def _norm(name: str, emit: object, imports: tuple[str, ...] = ()) -> Op:
    return Op(name, "reduction", _same(name), emit, _flops, imports=lambda k: imports)  # type: ignore[arg-type]


OPS = [
    _norm("layer_norm", _layer_norm),
    _norm("rms_norm", lambda a, k: f"F.rms_norm({a[0]}, ({k['width']},), {a[1]})"),
    _norm("head_norm", lambda a, k: f"head_norm({a[0]}, {a[1]}, {k['heads']})", ("head_norm",)),
]

"""Where the lanes of a column begin and end (passes/side_by_side.py): the same values under new names."""

from __future__ import annotations

from ..ir.types import Type
from .table import Attrs, Op, Types


def _same(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    return tuple(t for t in types if t is not None)


OPS = [
    Op(
        "enter_lane",
        "shape",
        _same,
        lambda a, k: f"enter_lane({', '.join([str(k['lane']), *a])})",
        imports=lambda k: ("enter_lane",),
    ),
    Op("leave_lanes", "shape", _same, lambda a, k: f"leave_lanes({', '.join(a)})", imports=lambda k: ("leave_lanes",)),
]

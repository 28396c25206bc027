"""The op table: what each op of the graph means. One file a family; ``OPS`` is the sum of them."""

from collections.abc import Callable

from ..ir import Type
from . import adapter, dropout, lanes, linear, mixing, norm, pointwise, shape, temporal
from .table import FAMILIES, Attrs, Op, ShapeError, Types

_FILES = (pointwise, linear, adapter, dropout, norm, shape, mixing, temporal, lanes)

OPS: dict[str, Op] = {op.name: op for family in _FILES for op in family.OPS}


def shape_rules() -> dict[str, Callable[[Types, Attrs], tuple[Type, ...]]]:
    """The shape rules by op name, as the verifier wants them."""
    return {name: op.infer for name, op in OPS.items()}


__all__ = ["FAMILIES", "OPS", "Op", "ShapeError", "shape_rules"]

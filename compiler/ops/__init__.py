"""The op table: what each op of the graph means. One file a family; ``OPS`` is the sum of them."""

from . import linear, mixing, norm, pointwise, shape, temporal
from .table import FAMILIES, Op, ShapeError, shape_rules

OPS: dict[str, Op] = {op.name: op for family in (pointwise, linear, norm, shape, mixing, temporal) for op in family.OPS}

__all__ = ["FAMILIES", "OPS", "Op", "ShapeError", "shape_rules"]

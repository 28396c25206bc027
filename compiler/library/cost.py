"""What one step of a recurrence costs, counted on its expressions."""

from __future__ import annotations

from functools import lru_cache

from ..recurrence import Recurrence
from ..recurrence.expr import Expr, walk
from ..recurrence.ops import OPS


@lru_cache(maxsize=256)
def step_flops(rec: Recurrence) -> int:
    """Operations per channel and step, matrix products apart; each shared subexpression counts once."""
    return sum(_flops(node) for node in walk(rec.update))


def _flops(node: Expr) -> int:
    return OPS[node.op].flops if node.op in OPS else 0

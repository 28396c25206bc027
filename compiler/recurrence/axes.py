"""What every expression has one number for, where channels belong to heads: "d" a channel, "e" a feature, both, or
neither. Leaves say so; an operation has the axes of all its operands, as tensors broadcast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .expr import Expr, leaf, walk
from .frontend import Recurrence

Axes = str  # a subset of "ed", in that order


def joined(parts: Iterable[Axes]) -> Axes:
    found = set("".join(parts))
    return "".join(a for a in "ed" if a in found)


def leaf_axes(rec: Recurrence, hoisted: Iterable[str] = ()) -> dict[Expr, Axes]:
    """Of every leaf; an adjoint has the axes of what it is the adjoint of, that of a total those of its summand."""
    known = {leaf("x", n): a for n, a in zip(rec.inputs, rec.input_axes, strict=True)}
    for n, a in zip(rec.state, rec.state_axes, strict=True):
        known |= {leaf(kind, n): a for kind in ("s", "n", "d")}
    known |= {leaf("r", n): "d" for n in rec.gates} | {leaf("d", n): "d" for n, _ in rec.readouts}
    known |= {leaf("h", n): "d" for n in hoisted} | {leaf("p", n): "d" for n in rec.params}
    return known | {leaf("z", n): "" for n, _ in rec.totals}


def axes_of(roots: Iterable[Expr], known: Mapping[Expr, Axes]) -> list[Axes]:
    """The axes of each root."""
    roots = list(roots)
    found: dict[Expr, Axes] = {}
    for node in walk(roots):
        if node.args:
            found[node] = joined(found[a] for a in node.args)
        else:
            found[node] = known[node] if node.op == "leaf" else ""
    return [found[root] for root in roots]

"""What can be proved of a recurrence from its equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from .expr import Expr, const, leaf, leaves, substitute, walk
from .frontend import Recurrence
from .gradient import Backward, gradient, step_backward
from .hoist import Hoisted, hoist
from .jacobian import Unrolled, unroll
from .ops import OPS
from .pretty import WORDS
from .traces import Traces, derive_traces

Matrix = tuple[tuple[Expr, ...], ...]


@dataclass(frozen=True)
class Facts:
    """The equations with parameter-only parts hoisted, and what was proved of them."""

    update: tuple[Expr, ...]  # over x, r, s and hoisted leaves `h.*`
    hoisted: Hoisted  # name and value (over p) of what is computed once, before the loop
    diagonal: bool  # no recurrent matrix: every channel runs by itself
    affine: bool  # the new state is A s + b, with A and b free of the state
    transition: Matrix | None  # A, k×k per channel, when affine and diagonal
    offset: tuple[Expr, ...] | None  # b
    constant_transition: bool  # A is the same at every step
    pointwise: tuple[bool, ...]  # per state variable: the equations read its previous value, outside r
    shared: tuple[bool, ...]  # per gate: the adjoint of r.g is that of x.g
    backward: Backward
    unrolled: Unrolled | None  # what a loop over time in torch runs; None where a scan runs instead
    traces: Traces | None  # eligibility traces, for diagonal recurrences with parameters
    names: Mapping[Expr, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def scan(self) -> bool:
        """Whether a parallel scan over time computes it."""
        return self.affine and self.diagonal


@lru_cache(maxsize=256)
def analyse(rec: Recurrence) -> Facts:
    """Prove what can be proved of `rec`."""
    hoisted, update, names = hoist(rec.update, rec.names)
    values = tuple(leaf("h", n) for n, _ in hoisted)
    back = step_backward(rec, update, values, names)
    diagonal = rec.recurrent is None
    degree = _degrees(update)
    affine = all(degree[e] <= 1 for e in update)
    transition: Matrix | None = None
    offset: tuple[Expr, ...] | None = None
    if affine and diagonal:
        state = [leaf("s", n) for n in rec.state]
        rows = [gradient({e: const(1.0)}, state) for e in update]
        transition = tuple(tuple(row[s] for s in state) for row in rows)
        offset = substitute(update, {s: const(0.0) for s in state})
    read = leaves(update)
    shared = tuple(back.inputs[rec.inputs.index(g)] is d for g, d in zip(rec.gates, back.recurrent, strict=True))
    return Facts(
        update=update,
        hoisted=hoisted,
        diagonal=diagonal,
        affine=affine,
        transition=transition,
        offset=offset,
        constant_transition=transition is not None and all(e.kind != "x" for row in transition for e in leaves(row)),
        pointwise=tuple(leaf("s", n) in read for n in rec.state),
        shared=shared,
        backward=back,
        unrolled=unroll(rec, update, values, shared, names) if transition is None else None,
        traces=derive_traces(rec) if diagonal and rec.params else None,
        names=names,
    )


def obstacle(rec: Recurrence) -> str:
    """Why the new state is not affine in the previous one, in words; empty where it is."""
    degree = _degrees(rec.update)
    node = next((n for n, d in degree.items() if d > 1 and all(degree[a] < 2 for a in n.args)), None)
    if node is None:
        return ""
    carried = [_of_state(rec, a) for a in node.args if degree[a]]
    named = " and ".join(dict.fromkeys(carried))
    if node.op == "mul":
        return f"{' times '.join(carried)}"
    if node.op == "div":
        return f"a number divided by {_of_state(rec, node.args[1])}"
    if OPS[node.op].boolean:
        return f"a choice depends on {named}"
    return f"{named} inside {WORDS.get(node.op, node.op)}"


def _of_state(rec: Recurrence, root: Expr) -> str:
    """What of the state an expression holds: `h`, `R h`."""
    found = leaves([root])
    names = [n for n in rec.state if leaf("s", n) in found]
    if any(e.kind == "r" for e in found):
        names.append(f"R {rec.recurrent}")
    return ", ".join(names)


def _degrees(roots: tuple[Expr, ...]) -> dict[Expr, int]:
    """The degree of every node in the state (r counts as state): 0, 1, or 2 for "not affine"."""
    degree: dict[Expr, int] = {}
    for node in walk(roots):
        if not node.args:
            degree[node] = int(node.kind in ("s", "r"))
            continue
        parts = [degree[a] for a in node.args]
        if node.op in ("add", "sub", "neg"):
            worst = max(parts)
        elif node.op == "mul":
            worst = sum(parts)
        elif node.op == "div":
            worst = parts[0] + 2 * parts[1]
        elif node.op == "where":
            worst = max(2 * parts[0], *parts[1:])
        else:
            worst = 2 * max(parts)
        degree[node] = min(worst, 2)
    return degree

"""What can be proved of a recurrence from its equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from .axes import axes_of, leaf_axes
from .expr import Expr, const, leaf, leaves, substitute, walk
from .frontend import Recurrence
from .gradient import Backward, gradient, step_backward
from .hoist import Hoisted, hoist
from .jacobian import Unrolled, unroll
from .ops import OPS
from .pattern import Pattern, pattern
from .pretty import WORDS
from .readout import Readout, derive_readout
from .traces import Traces, derive_traces, traced

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
    pattern: Pattern | None  # of products of A
    constant_transition: bool  # A is the same at every step
    pointwise: tuple[bool, ...]  # per state variable: the equations read its previous value, outside r
    shared: tuple[bool, ...]  # per gate: the adjoint of r.g is that of x.g
    readout: Readout | None
    seen: tuple[bool, ...]  # per state variable: the reverse mode of the read-outs reads its new value
    backward: Backward
    backward_wide: Backward | None  # of the state variables with features, where that must stand apart
    unrolled: Unrolled | None  # what a loop over time in torch runs; None where a scan runs instead
    traces: Traces | None  # eligibility traces, for diagonal recurrences with parameters
    names: Mapping[Expr, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def scan(self) -> bool:
        """Whether a parallel scan over time computes it."""
        return self.affine and self.diagonal


@lru_cache(maxsize=256)
def analyse(rec: Recurrence) -> Facts:
    """Prove what can be proved of `rec`. Raises ValueError for what cannot be computed as declared."""
    k, given = len(rec.update), [e for _, e in (*rec.readouts, *rec.totals)]
    hoisted, roots, names = hoist((*rec.update, *given), rec.names)
    update, given = roots[:k], list(roots[k:])
    values = tuple(leaf("h", n) for n, _ in hoisted)
    read: Readout | None = None
    if rec.readouts:
        cut = len(rec.readouts)
        read = derive_readout(rec, update, given[:cut], given[cut:], values, names)
    back, wide = _backwards(rec, update, values, names)
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
    seen = read.seen(rec.state) if read else (False,) * k
    reads = leaves(update)
    beside = leaves((*read.summands, *read.results)) if read else set()
    shared = tuple(
        back.inputs[rec.inputs.index(g)] is d and leaf("x", g) not in beside
        for g, d in zip(rec.gates, back.recurrent, strict=True)
    )
    if rec.headed:
        _check_heads(rec, values, transition, update, read)
    return Facts(
        update=update,
        hoisted=hoisted,
        diagonal=diagonal,
        affine=affine,
        transition=transition,
        offset=offset,
        pattern=pattern(transition, rec.state_axes) if transition is not None else None,
        constant_transition=transition is not None and all(e.kind != "x" for row in transition for e in leaves(row)),
        pointwise=tuple(leaf("s", n) in reads for n in rec.state),
        shared=shared,
        readout=read,
        seen=seen,
        backward=back,
        backward_wide=wide,
        unrolled=unroll(rec, update, values, shared, names) if transition is None else None,
        traces=derive_traces(rec) if traced(rec) else None,
        names=names,
    )


def _backwards(
    rec: Recurrence, update: tuple[Expr, ...], hoisted: tuple[Expr, ...], names: Mapping[Expr, str]
) -> tuple[Backward, Backward | None]:
    """The reverse mode of the step, in one or in two parts. An adjoint is summed over what its variable was shared by,
    and that differs: something that states with features and states without both read gets two adjoints."""
    groups = {axes: [n for n, a in zip(rec.state, rec.state_axes, strict=True) if a == axes] for axes in ("d", "ed")}
    roots = dict(zip(rec.state, update, strict=True))
    read = [{e for e in leaves(roots[n] for n in group) if e.kind in ("x", "h")} for group in groups.values()]
    data = {leaf("x", n) for n, axes in zip(rec.inputs, rec.input_axes, strict=True) if not axes}
    if not (read[0] & read[1]) - data:
        return step_backward(rec, update, hoisted, names), None
    narrow, wide = (step_backward(rec, update, hoisted, names, group) for group in groups.values())
    return narrow, wide


def _check_heads(
    rec: Recurrence,
    hoisted: tuple[Expr, ...],
    transition: Matrix | None,
    update: tuple[Expr, ...],
    read: Readout | None,
) -> None:
    """Whether what has heads can be computed: by chunks of time only, and without sums over a head in the state."""
    if transition is None:
        raise ValueError(f"{rec.name}: features and totals of a head need an affine state; here {obstacle(rec)}")
    for (i, a), (j, b) in ((v, w) for v in enumerate(rec.state_axes) for w in enumerate(rec.state_axes)):
        if a != b and transition[i][j] is not const(0.0):
            raise ValueError(f"{rec.name}: {rec.state[i]}[{a}] reads {rec.state[j]}[{b}], which has other axes")
    known = leaf_axes(rec, [h.name for h in hoisted])
    wanted = [*zip(rec.state, update, rec.state_axes, strict=True)]
    wanted += [(n, e, "d") for n, e in zip(read.names, read.results, strict=True)] if read else []
    for name, root, own in wanted:
        (found,) = axes_of([root], known)
        if not set(found) <= set(own):
            raise ValueError(f"{rec.name}: {name}[{own}] is computed from what has axes [{found}]: take a total(…)")
    if wide := [n for n, a in zip(rec.state, rec.state_axes, strict=True) if n in rec.outputs and a != "d"]:
        raise ValueError(f"{rec.name}: an output has one number a channel, not {', '.join(wide)}")


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

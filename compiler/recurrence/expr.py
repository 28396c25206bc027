"""Expressions over per-channel scalars: an immutable, hash-consed DAG.

Equal expressions are the *same* object, so common subexpressions are found by building, and `is` answers "are these
two formulas identical". Constructors simplify (constants fold, `x * 1`, `x + 0`, double negation).

`==` is left to Python, because nodes are dictionary keys; write `equal(a, b)` in equations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Union
from weakref import WeakValueDictionary

from .ops import OPS

Scalar = Union["Expr", float, int]

# The kinds of leaf: an input x, the recurrent term r of an input, previous state s, a parameter p, a value computed
# from parameters before the loop, the adjoint ("d") of a new state, a trace e; and in read-outs the new state n and a
# total z.
LEAF_KINDS = ("x", "r", "s", "p", "h", "d", "e", "n", "z")


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Expr:
    """One node: `op` names a row of the op table, or is "leaf" or "const"."""

    op: str
    args: tuple[Expr, ...] = ()
    kind: str = ""  # of a leaf
    name: str = ""  # of a leaf
    value: float = 0.0  # of a constant

    def __add__(self, other: Scalar) -> Expr:
        return make("add", self, other)

    def __radd__(self, other: Scalar) -> Expr:
        return make("add", other, self)

    def __sub__(self, other: Scalar) -> Expr:
        return make("sub", self, other)

    def __rsub__(self, other: Scalar) -> Expr:
        return make("sub", other, self)

    def __mul__(self, other: Scalar) -> Expr:
        return make("mul", self, other)

    def __rmul__(self, other: Scalar) -> Expr:
        return make("mul", other, self)

    def __truediv__(self, other: Scalar) -> Expr:
        return make("div", self, other)

    def __rtruediv__(self, other: Scalar) -> Expr:
        return make("div", other, self)

    def __neg__(self) -> Expr:
        return make("neg", self)

    def __lt__(self, other: Scalar) -> Expr:
        return make("lt", self, other)

    def __le__(self, other: Scalar) -> Expr:
        return make("le", self, other)

    def __gt__(self, other: Scalar) -> Expr:
        return make("lt", other, self)

    def __ge__(self, other: Scalar) -> Expr:
        return make("le", other, self)

    @staticmethod
    def of(op: str, *operands: Scalar) -> Expr:
        """`make`, for the derivative rules: the op table comes before this module."""
        return make(op, *operands)

    def __bool__(self) -> bool:
        raise TypeError("an equation cannot branch on a value: use where(condition, a, b), minimum or maximum")

    def __repr__(self) -> str:
        if self.op == "leaf":
            return f"{self.kind}.{self.name}"
        if self.op == "const":
            return repr(self.value)
        return f"{self.op}({', '.join(map(repr, self.args))})"


_interned: WeakValueDictionary[tuple[object, ...], Expr] = WeakValueDictionary()


def _intern(op: str, args: tuple[Expr, ...] = (), kind: str = "", name: str = "", value: float = 0.0) -> Expr:
    key = (op, args, kind, name, repr(value))  # repr keeps 0.0 and -0.0 apart
    found = _interned.get(key)
    if found is None:
        found = Expr(op, args, kind, name, value)
        _interned[key] = found
    return found


def leaf(kind: str, name: str) -> Expr:
    """The leaf `kind.name`; see LEAF_KINDS."""
    return _intern("leaf", kind=kind, name=name)


def const(value: float) -> Expr:
    return _intern("const", value=float(value))


def lift(value: Scalar) -> Expr:
    """A number becomes a constant; an expression stays itself."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, (int, float)):
        return const(value)
    raise TypeError(f"an equation takes expressions and numbers, not {type(value).__name__}")


def make(op: str, *operands: Scalar) -> Expr:
    """The simplified node `op(operands)`."""
    args = tuple(map(lift, operands))
    row = OPS[op]
    if len(args) != row.arity:
        raise TypeError(f"{op} takes {row.arity} operands, got {len(args)}")
    if all(a.op == "const" for a in args) and not row.boolean:
        return const(row.value(*(a.value for a in args)))
    simpler = _simplify(op, args)
    if simpler is not None:
        return simpler
    if op in ("add", "mul") and (op, args[::-1], "", "", "0.0") in _interned:
        args = args[::-1]  # a + b and b + a are one node, in the order first written
    return _intern(op, args)


def _simplify(op: str, args: tuple[Expr, ...]) -> Expr | None:
    """A smaller equal expression, or None. Only rewrites that keep every finite value exactly."""
    if op == "where":
        return args[1] if args[1] is args[2] else None
    if op == "neg":
        return args[0].args[0] if args[0].op == "neg" else None
    if op not in ("add", "sub", "mul", "div"):
        return None
    a, b = args
    left = a.value if a.op == "const" else None
    right = b.value if b.op == "const" else None
    if op == "add":
        if left == 0.0:
            return b
        if right == 0.0:
            return a
        if b.op == "neg":
            return make("sub", a, b.args[0])
        return make("sub", b, a.args[0]) if a.op == "neg" else None
    if op == "sub":
        if right == 0.0:
            return a
        if left == 0.0:
            return make("neg", b)
        return make("add", a, b.args[0]) if b.op == "neg" else None
    if op == "mul":
        for value, other in ((left, b), (right, a)):
            if value == 0.0:
                return const(0.0)
            if value == 1.0:
                return other
            if value == -1.0:
                return make("neg", other)
        return None
    if right == 1.0:
        return a
    return const(0.0) if left == 0.0 else None


def walk(roots: Iterable[Expr]) -> Iterator[Expr]:
    """Every node under `roots` once, operands before their users."""
    seen: set[Expr] = set()
    for root in roots:
        stack = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((arg, False) for arg in reversed(node.args))


def leaves(roots: Iterable[Expr]) -> set[Expr]:
    return {node for node in walk(roots) if node.op == "leaf"}


def substitute(roots: Iterable[Expr], values: Mapping[Expr, Expr]) -> tuple[Expr, ...]:
    """`roots` with every node in `values` replaced, simplified again."""
    roots = tuple(roots)
    done: dict[Expr, Expr] = dict(values)
    for node in walk(roots):
        if node not in done:
            done[node] = make(node.op, *(done[a] for a in node.args)) if node.args else node
    return tuple(done[root] for root in roots)

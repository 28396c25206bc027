"""Parameter-only parts of equations: computed once, before the loop, in torch and in full precision."""

from __future__ import annotations

from collections.abc import Mapping

from .expr import Expr, leaf, leaves, substitute, walk

# (name, value over p) of each hoisted part
Hoisted = tuple[tuple[str, Expr], ...]


def hoist(roots: tuple[Expr, ...], names: Mapping[Expr, str]) -> tuple[Hoisted, tuple[Expr, ...], dict[Expr, str]]:
    """The maximal parameter-only parts of `roots`, the roots over leaves `h.*`, and the author's names carried over."""
    fixed: dict[Expr, bool] = {}
    for node in walk(roots):
        fixed[node] = node.kind == "p" if not node.args else all(fixed[a] or a.op == "const" for a in node.args)
    found: dict[Expr, None] = {}
    for node in walk(roots):
        for arg in node.args:
            if fixed[arg] and not fixed[node]:
                found.setdefault(arg)
    for root in roots:
        if fixed[root]:
            found.setdefault(root)
    taken: set[str] = set()
    named: list[tuple[str, Expr]] = []
    for node in found:
        wish = node.name or names.get(node) or "_".join(["of", *sorted({p.name for p in leaves([node])})])
        name, count = wish, 1
        while name in taken:
            name, count = f"{wish}{count}", count + 1
        taken.add(name)
        named.append((name, node))
    swap = {node: leaf("h", name) for name, node in named}
    outer = {e: n for e, n in names.items() if not fixed.get(e, False)}
    moved = dict(zip(substitute(outer, swap), outer.values(), strict=True))
    return tuple(named), substitute(roots, swap), {e: n for e, n in moved.items() if e.args}

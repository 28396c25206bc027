"""An expression as its author would write it: `(1.0 - z) * s.h`, with the author's names for what has one."""

from __future__ import annotations

from collections.abc import Mapping

from .expr import Expr
from .ops import OPS

# Operations whose function in equations has another name.
WORDS = {"min": "minimum", "max": "maximum", "abs": "absolute", "eq": "equal"}


def pretty(root: Expr, names: Mapping[Expr, str]) -> str:
    """The text of `root`. A node in `names` is written as its name, `root` itself included."""
    return _text(root, names)[0]


def written_out(root: Expr, names: Mapping[Expr, str]) -> str:
    """`pretty`, with the expression that `root` names, not its name."""
    return _text(root, {e: n for e, n in names.items() if e is not root})[0]


def _text(node: Expr, names: Mapping[Expr, str]) -> tuple[str, int]:
    """The text and how tightly it binds, as in the op table."""
    if node in names:
        return names[node], 4
    if node.op == "leaf":
        return f"{node.kind}.{node.name}", 4
    if node.op == "const":
        return repr(node.value), 4 if node.value >= 0 else 3
    row = OPS[node.op]
    if row.level == 4 or node.op == "eq":
        return f"{WORDS.get(node.op, node.op)}({', '.join(_text(a, names)[0] for a in node.args)})", 4
    texts = []
    for place, arg in enumerate(node.args):
        text, level = _text(arg, names)
        tight = level < row.level or (level == row.level and (place > 0 or row.level == 0))
        texts.append(f"({text})" if tight else text)
    return row.torch.format(*texts), row.level

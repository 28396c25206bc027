"""The DAG as straight-line text: Python for torch or for Triton, and lines of C++.

A node gets a line of its own when the author named it, when it is used twice, or when its text grows long; all others
are written where they are used. Lines come in the order of evaluation.
"""

from __future__ import annotations

import keyword
import math
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from .expr import Expr, leaves, walk
from .ops import OPS, Target

LONG = 72  # characters of an inlined expression
LONGEST = 110  # of a line
RESERVED = frozenset({"torch", "triton", "tl", "F", "expm1", "sigmoid", "tanh", "log_sigmoid", "step", "vjp"})


def leaf_text(node: Expr) -> str:
    return f"{node.kind}_{node.name}"


def number_text(value: float, target: Target) -> str:
    """A constant. In C++ it is a float, or everything around it would be computed in double."""
    if target != "cpp":
        return repr(value)
    if math.isfinite(value):
        return f"{value!r}f"
    return "NAN" if math.isnan(value) else "HUGE_VALF" if value > 0 else "-HUGE_VALF"


def print_function(
    name: str,
    arguments: Sequence[Expr],
    results: Sequence[Expr],
    *,
    target: Target,
    names: Mapping[Expr, str],
    doc: str,
    anchor: Expr | None = None,
    release: bool = False,
    brief: bool = False,
) -> str:
    """`def name(arguments)` returning the tuple of `results`.

    Results that would not have the full shape (numbers, and values of hoisted leaves alone) are broadcast to `anchor`.
    With `release`, variables are deleted after their last use. With `brief`, a + b * c is one operator of torch: for
    what runs without autograd, whose reverse mode of that operator costs more than the two of sum and product.
    """
    lines = Block(target, names, {leaf_text(a) for a in arguments}, brief)
    texts = lines.add(results)
    like = "torch.zeros_like" if target == "torch" else "tl.zeros_like"
    if anchor is not None:
        for index, root in enumerate(results):
            if all(n.kind in ("h", "p") for n in leaves([root])):
                texts[index] = f"{like}({leaf_text(anchor)}) + {texts[index]}"
    body = _released(lines.text, texts) if release else lines.text
    head = ["@triton.jit"] if target == "triton" else []
    head += _signature(name, [leaf_text(a) for a in arguments])
    head += [f'    """{_filled(doc)}"""']
    tail = ", ".join(texts) + ("," if len(texts) == 1 else "")
    tail = f"    return ({tail})" if len(tail) > 100 else f"    return {tail}"
    if len(tail) > 118:
        tail = "    return (\n" + "".join(f"        {t},\n" for t in texts) + "    )"
    return "\n".join([*head, *(f"    {line}" for line in body), tail])


def _filled(doc: str) -> str:
    """A docstring with its long lines broken."""
    return "\n".join(textwrap.fill(line, LONGEST, subsequent_indent="    ") for line in doc.split("\n"))


def _released(lines: Sequence[str], results: Sequence[str]) -> list[str]:
    """`lines` with a `del` wherever variables have seen their last use.

    Large temporaries that are given back at once are taken again by the next lines, in cache and without page faults.
    """
    last: dict[str, int] = {}
    own = [line.split(" = ", 1)[0] for line in lines]
    for place, line in enumerate([*lines, " ".join(results)]):
        for word in re.findall(r"\w+", line):
            last[word] = place
    made = []
    for place, line in enumerate(lines):
        made.append(line)
        if dead := [name for name in own[: place + 1] if last[name] == place]:
            made.append(f"del {', '.join(dead)}")
    return made


def _signature(name: str, arguments: Sequence[str]) -> list[str]:
    one = f"def {name}({', '.join(arguments)}):"
    if len(one) <= 118:
        return [one]
    rows, row = [], "   "
    for argument in arguments:
        if len(row) + len(argument) > 100:
            rows.append(row)
            row = "   "
        row += f" {argument},"
    return [f"def {name}(", *rows, row, "):"]


class Block:
    """Assignments gathered for one function body."""

    def __init__(self, target: Target, names: Mapping[Expr, str], taken: set[str], brief: bool = False) -> None:
        self.text: list[str] = []
        self._brief = brief
        self._target = target
        self._names = names
        self._taken = set(taken) | RESERVED | set(keyword.kwlist)
        self._known: dict[Expr, tuple[str, int]] = {}  # text and how tightly it binds

    def add(self, roots: Sequence[Expr]) -> list[str]:
        """Assignments that compute `roots`; their texts."""
        nodes = list(walk(roots))
        uses = Counter(arg for node in nodes for arg in node.args) + Counter(roots)
        for node in nodes:
            if node in self._known:
                continue
            text, level = self._expression(node)
            while len(text) > LONGEST - 10 and (part := self._longest_part(node)) is not None:
                self._assign(part, "t", self._known[part][0])
                text, level = self._expression(node)
            self._known[node] = text, level
            if node.args and (node in self._names or uses[node] > 1 or len(text) > LONG):
                self._assign(node, self._names.get(node, "t"), text)
        return [self._known[root][0] for root in roots]

    def _assign(self, node: Expr, wish: str, text: str) -> None:
        """A line of its own for a node; from here on it is written by its name."""
        name = self._fresh(wish)
        self.text.append(f"const auto {name} = {text};" if self._target == "cpp" else f"{name} = {text}")
        self._known[node] = name, 4

    def _longest_part(self, node: Expr) -> Expr | None:
        """The operand with the longest text, if that is more than a name or a number."""
        parts = [a for a in node.args if not re.fullmatch(r"[\w.]+", self._known[a][0])]
        return max(parts, key=lambda a: len(self._known[a][0]), default=None)

    def _expression(self, node: Expr) -> tuple[str, int]:
        if node.op == "leaf":
            return leaf_text(node), 4
        if node.op == "const":
            return number_text(node.value, self._target), 4 if node.value >= 0 else 3
        if self._brief and (joined := self._with_product(node)):
            return joined, 4
        row = OPS[node.op]
        template, args = row.text(self._target), node.args
        if self._target == "torch" and row.torch_const and any(a.op == "const" for a in args):
            template = row.torch_const
            args = args if args[1].op == "const" else args[::-1]
        texts = []
        for place, arg in enumerate(args):
            text, level = self._known[arg]
            # the right operand of - and / needs brackets at the same level; comparisons do not chain
            tight = row.level < 4 and (level < row.level or (level == row.level and (place > 0 or row.level == 0)))
            texts.append(f"({text})" if tight else text)
        return template.format(*texts), row.level

    def _with_product(self, node: Expr) -> str:
        """a ± b * c as one call, where the product has no line of its own."""
        if node.op not in ("add", "sub"):
            return ""
        for a, product in (node.args, node.args[::-1])[: 2 if node.op == "add" else 1]:
            if a.op == "const" or product.op != "mul" or self._known[product][1] == 4:
                continue
            first, b, c = (self._known[e][0] for e in (a, *product.args))
            numbers = [e.value for e in product.args if e.op == "const"]
            if numbers:
                scale, b = numbers[0], c if product.args[0].op == "const" else b
                return f"torch.add({first}, {b}, alpha={scale if node.op == 'add' else -scale!r})"
            return f"torch.addcmul({first}, {b}, {c}{', value=-1' if node.op == 'sub' else ''})"
        return ""

    def _fresh(self, wish: str) -> str:
        name, count = wish, 1
        while name in self._taken:
            name, count = f"{wish}{count}", count + 1
        self._taken.add(name)
        return name

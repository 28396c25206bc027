"""One graph -> one Python function of straight-line torch.

``def column_axms(p, x, state, resets)``: ``p`` is the layer's nn.Module, ``state`` the tuple of its leaves; it
returns the output and the tuple of next leaves. With routed adapters there is one more argument, ``routes``.
"""

from __future__ import annotations

import keyword
import re
import textwrap

from ..ir import Graph, Node
from ..ir.graph import ABSENT
from ..ops import OPS
from ..ops.temporal import recurrence_targets
from .wrap import LIMIT, wrap

MANY = ("split", "enter_lane", "leave_lanes")  # ops that return a tuple, also of one


def emit_function(graph: Graph, reserved: frozenset[str] = frozenset()) -> list[str]:
    """The lines of the function. Nodes of one part stand together under a comment with its place in the pattern.
    ``reserved`` are names of the module (imports) which no local may hide."""
    experts = sorted({int(p.path.split(".")[1]) for p in graph.params if p.path.startswith("experts.")})
    names = _local_names(graph, reserved | {f"e{e}" for e in experts})
    lines = [f"def {graph.name}({parameters(graph)}):"]
    if graph.states:
        lines += wrap(f"{_tuple([names[s.name] for s in graph.states])} = state")
    lines += [f"    e{e} = p.experts[{e}]" for e in experts]
    where = None
    for node in graph.nodes:
        if node.where != where:
            where = node.where
            lines += ["", *textwrap.wrap(where, LIMIT, initial_indent="    # ", subsequent_indent="    # ")]
        lines += wrap(_statement(node, names))
    lines += ["", *wrap(f"return {names[graph.output]}, {_tuple([names[n] for n in graph.next_state])}")]
    return lines


def parameters(graph: Graph) -> str:
    """What the function of a graph takes."""
    return ", ".join(("p", "x", "state", "resets", *(v.name[1:] for v in graph.inputs[2:])))


def parameter_text(path: str) -> str:
    """How a function reads a parameter of its module ``p``; expert 2 is ``e2``."""
    short = re.sub(r"^experts\.(\d+)\.", r"e\1.", path)
    return re.sub(r"\.(\d+)\b", r"[\1]", short if short != path else f"p.{path}")


def _statement(node: Node, names: dict[str, str]) -> str:
    op = OPS[node.op]
    args = ["None" if i == ABSENT else names[i] for i in node.inputs]
    text = op.emit(args, dict(node.attrs))
    targets = [names[v.name] for v in node.outputs]
    if node.op == "recurrence":
        return f"{recurrence_targets(targets, dict(node.attrs))} = {text}"
    if node.op in MANY and len(targets) == 1:
        return f"({targets[0]},) = {text}"
    return f"{', '.join(targets)} = {text}"


def _tuple(items: list[str]) -> str:
    return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"


def _local_names(graph: Graph, reserved: frozenset[str] | set[str]) -> dict[str, str]:
    """Python names: parameters by attribute access on ``p``, states by their last word, values by their hint."""
    names = {v.name: v.name[1:] for v in graph.inputs}
    taken = {*names.values(), "p", "state", "F", "torch", *reserved, *keyword.kwlist}

    def fresh(wanted: str) -> str:
        base = re.sub(r"\W", "_", wanted) or "v"
        name, n = base, 1
        while name in taken:
            n += 1
            name = f"{base}_{n}"
        taken.add(name)
        return name

    for p in graph.params:
        names[p.name] = parameter_text(p.path)
    for s in graph.states:
        # A state and the next value of the same slot are two names: c_in and c.
        names[s.name] = fresh(f"{s.path[-1]}_in")
    for node in graph.nodes:
        for v in node.outputs:
            names[v.name] = fresh(v.name[1:])
    return names

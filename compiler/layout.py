"""What the runtime must know of a program besides its code, as plain JSON: parameters, state leaves, packed groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from .ir import Node, Program
from .ir.types import B

LAYOUT = "layout.json"


def make_layout(program: Program) -> dict[str, object]:
    """``params`` in the order of the pattern (those of routed adapters after all others), ``states`` in that of the
    flat state, and ``packs``: groups of parameters that one product reads together, so that the runtime can lay them
    out side by side."""
    return {
        "params": [
            {
                "path": p.path,
                "shape": list(map(int, p.type.shape)),
                "init": p.init.rule,
                "args": list(p.init.args),
                "trainable": p.trainable,
                "dtype": p.type.dtype,
                **({"adapter": True} if p.adapter else {}),
            }
            # Adapters last: a seed gives the same trunk with and without them.
            for p in sorted(program.all_params(), key=lambda p: p.adapter)
        ],
        "states": [
            {
                "path": list(s.path),
                "shape": [int(d) for d in s.type.shape if d is not B],
                "dtype": s.type.dtype,
                "start": s.start,
            }
            for s in program.all_states()
        ],
        "scopes": [str(call.attr("scope")) for call, _ in program.calls()],
        "packs": [
            [f"{call.attr('scope')}.{name[1:]}" for name in node.inputs]
            for call, graph in program.calls()
            for node in graph.nodes
            if node.op == "pack"
        ]
        + [[name[1:] for name in node.inputs] for node in program.entry.nodes if node.op == "pack"],
        **_foreign(program),
        **_dropping(program),
    }


def _foreign(program: Program) -> dict[str, object]:
    """``foreign``: the modules of users, with the path they hang at; ``owners``: what must be imported for them."""
    found = [(scope, dict(n.attrs)) for scope, n in _nodes(program) if n.op == "foreign"]
    modules = [
        {"path": f"{scope}{attrs['path']}".strip("."), **{k: attrs[k] for k in ("family", "config", "width")}}
        for scope, attrs in found
    ]
    owners = dict.fromkeys(owner for _, attrs in found for owner in cast(tuple[tuple[str, ...], ...], attrs["owners"]))
    return {"foreign": modules, "owners": [list(owner) for owner in owners]}


def _dropping(program: Program) -> dict[str, object]:
    """``dropout``: the paths of the modules whose training mode matters, if there are any."""
    found = ((scope, n) for scope, n in _nodes(program) if n.op in ("dropout", "dropout_factors"))
    paths = dict.fromkeys(f"{scope}{n.attr('path')}".strip(".") for scope, n in found)
    return {"dropout": list(paths)} if paths else {}


def _nodes(program: Program) -> Iterator[tuple[str, Node]]:
    """Every node, with the path that its own paths continue."""
    for call, graph in program.calls():
        yield from ((f"{call.attr('scope')}.", n) for n in graph.nodes)
    yield from (("", n) for n in program.entry.nodes)

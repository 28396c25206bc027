"""What the runtime must know of a program besides its code, as plain JSON: parameters, state leaves, packed groups."""

from __future__ import annotations

from .ir import Program
from .ir.types import B

LAYOUT = "layout.json"


def make_layout(program: Program) -> dict[str, object]:
    """``params`` in the order of the pattern, ``states`` in the order of the flat state, and ``packs``: groups of
    parameters
    that one product reads together, so that the runtime can lay them out side by side."""
    return {
        "params": [
            {
                "path": p.path,
                "shape": list(map(int, p.type.shape)),
                "init": p.init.rule,
                "args": list(p.init.args),
                "trainable": p.trainable,
                "dtype": p.type.dtype,
            }
            for p in program.all_params()
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
    }

"""Running a graph: its generated function, executed in float64 on random operands."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from cortexc import kernels
from cortexc.compiler.codegen.function import emit_function
from cortexc.compiler.codegen.module import used_regions
from cortexc.compiler.ir import B, Graph, Param, Program, State, Type, Value, print_graph, verify
from cortexc.compiler.ir.graph import Node
from cortexc.compiler.ops import shape_rules
from cortexc.compiler.passes.name_regions import name_regions
from cortexc.compiler.regions import emit_regions

Pass = Callable[[Graph], Graph]
RULES = shape_rules()


def row(width: int = 4, dtype: str = "f") -> Type:
    return Type(dtype, (B, width))


def node(op: str, inputs: str, outputs: str, where: str = "", **attrs: object) -> Node:
    """`node("add", "%x %y", "%z")`: rows of width 4, or as wide as `%z:8` says."""
    made = []
    for text in outputs.split():
        name, _, width = text.partition(":")
        made.append(Value(name, row(int(width or 4))))
    return Node(op, tuple(inputs.split()), tuple(made), tuple(attrs.items()), where)  # type: ignore[arg-type]


def graph(
    *nodes: Node, out: str, params: tuple[Param, ...] = (), states: tuple[State, ...] = (), following: str = ""
) -> Graph:
    """A graph in step mode over `%x`, checked."""
    inputs = (Value("%x", row()),)
    return verify(Graph("g", inputs, params, states, nodes, out, tuple(following.split())), RULES)


def applied(step: Pass, before: Graph) -> Graph:
    """The graph after a pass, which must be well formed and must leave its operand and its own result as they are."""
    text = print_graph(before)
    after = step(before)
    assert print_graph(before) == text
    verify(after, RULES)
    return after


def both(before: Graph, after: Graph) -> str:
    """The nodes of two graphs, for a golden."""

    def lines(g: Graph) -> str:
        kept = [x for x in print_graph(g).splitlines() if x.split()[0] not in ("graph", "in", "param", "state")]
        return "\n".join(kept)

    return f"before\n{lines(before)}\nafter\n{lines(after)}\n"


def evaluate(g: Graph, seed: int = 0) -> tuple[Tensor, ...]:
    """Output and next state. Operands are drawn by name, so that two graphs of one origin get the same."""
    g = name_regions(g)
    names = frozenset(vars(kernels))
    regions = [r.name for r in used_regions({"step": Program("step", g)})]
    space: dict[str, object] = {"torch": torch, "F": F, **{n: getattr(kernels, n) for n in kernels.__all__}}
    if regions:
        # float64 runs on the torch text of a region, so its kernels need not be real ones.
        exec(emit_regions(used_regions({"step": Program("step", g)})).replace("@triton.jit\n", ""), space)
    exec("\n".join(emit_function(g, names | frozenset(regions))), space)
    x = _draw("%x", g.inputs[0].type, seed)
    state = tuple(_draw(s.name, s.type, seed) for s in g.states)
    y, after = space[g.name](_tree(g, seed), x, state, None)  # type: ignore[operator]
    return (y, *after)


def _draw(name: str, type_: Type, seed: int) -> Tensor:
    sizes = {"B": 3, "T": 5}
    generator = torch.Generator().manual_seed(seed + sum(map(ord, name)) * 7)
    return torch.randn([sizes.get(str(d)) or int(d) for d in type_.shape], generator=generator, dtype=torch.float64)


def _tree(g: Graph, seed: int) -> SimpleNamespace:
    root = SimpleNamespace()
    for p in g.params:
        *scopes, leaf = p.path.split(".")
        owner = root
        for scope in scopes:
            owner.__dict__.setdefault(scope, SimpleNamespace())
            owner = getattr(owner, scope)
        setattr(owner, leaf, _draw(p.name, p.type, seed))
    return root

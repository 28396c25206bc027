"""Side by side: the experts of a column in lanes of their own, so that a GPU may run them at the same time.

One expert is a long chain of small kernels, and a loop over time keeps a handful of processors busy while the others
wait. What only one expert computes stands between `enter_lane` and the next; what several read comes before, and
`leave_lanes` brings their results together. The two only rename values: what a lane is, `kernels/lanes.py` knows.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..ir import Graph, Node, Value

EXPERTS = 5  # the operands of column_mix from which on its experts' outputs stand


def side_by_side(graph: Graph) -> Graph:
    """Lanes for every outermost column of the graph; a graph that has lanes stays as it is."""
    if any(n.op == "enter_lane" for n in graph.nodes):
        return graph
    taken: set[int] = set()
    for place in reversed([i for i, n in enumerate(graph.nodes) if n.op == "column_mix"]):
        mix = graph.nodes[place]
        if place in taken:
            continue  # a column inside an expert
        lanes = _lanes(graph, mix)
        if sum(map(bool, lanes)) > 1:
            taken |= set().union(*lanes)
            graph, taken = _apart(graph, mix, lanes, taken)
    return graph


def _lanes(graph: Graph, mix: Node) -> list[set[int]]:
    """The nodes of each expert alone, and last those of the router."""
    maker = {v.name: i for i, n in enumerate(graph.nodes) for v in n.outputs}
    roots = [[name] for name in mix.inputs[EXPERTS:]] + [list(mix.inputs[:EXPERTS])]
    reached = [_ancestors(graph, names, maker) for names in roots]
    lanes = [
        nodes - set().union(*(other for j, other in enumerate(reached) if j != i)) for i, nodes in enumerate(reached)
    ]
    # What follows from one lane and feeds none, as the next state does, belongs to that lane.
    home = {i: lane for lane, nodes in enumerate(lanes) for i in nodes}
    shared = set().union(*reached) - set(home)
    for i, node in enumerate(graph.nodes):
        if i in home or i in shared or node is mix:
            continue
        makers = [maker[name] for name in node.inputs if name in maker]
        from_lanes = {home[m] for m in makers if m in home}
        if len(from_lanes) == 1 and all(m in home or m in shared for m in makers):
            home[i] = from_lanes.pop()
            lanes[home[i]].add(i)
    return lanes


def _ancestors(graph: Graph, names: Iterable[str], maker: dict[str, int]) -> set[int]:
    found: set[int] = set()
    open_ = [maker[name] for name in names if name in maker]
    while open_:
        i = open_.pop()
        if i not in found:
            found.add(i)
            open_ += [maker[name] for name in graph.nodes[i].inputs if name in maker]
    return found


def _apart(graph: Graph, mix: Node, lanes: list[set[int]], taken: set[int]) -> tuple[Graph, set[int]]:
    """The graph in its new order; and where `taken` nodes stand in it."""
    before = _ancestors(graph, mix.inputs, {v.name: i for i, n in enumerate(graph.nodes) for v in n.outputs})
    inside = set().union(*lanes)
    types = graph.types()
    nodes = [graph.nodes[i] for i in sorted(before - inside)]
    made = {v.name for n in nodes for v in n.outputs}
    moved = {id(graph.nodes[i]) for i in taken}
    out: list[Value] = []
    for lane, members in enumerate(lanes):
        own = [graph.nodes[i] for i in sorted(members)]
        crossing = tuple(dict.fromkeys(name for n in own for name in n.inputs if name in made))
        names = {name: f"{name}.lane{lane}" for name in crossing}
        if own:
            entered = tuple(Value(names[name], types[name]) for name in crossing)
            nodes.append(Node("enter_lane", crossing, entered, (("lane", lane),), own[0].where))
        for n in own:
            made_here = n.update(inputs=tuple(names.get(i, i) for i in n.inputs))
            moved.add(id(made_here))
            nodes.append(made_here)
            out += n.outputs
    rest = [n for i, n in enumerate(graph.nodes) if i not in inside and i not in before]
    read = {name for n in rest for name in n.inputs} | {graph.output, *graph.next_state}
    leaving = [v for v in out if v.name in read]
    names = {v.name: f"{v.name}.out" for v in leaving}
    left = tuple(Value(names[v.name], v.type) for v in leaving)
    nodes.append(Node("leave_lanes", tuple(v.name for v in leaving), left, (), mix.where))
    nodes += [n.update(inputs=tuple(names.get(i, i) for i in n.inputs)) for n in rest]
    changed = graph.update(
        nodes=tuple(nodes),
        output=names.get(graph.output, graph.output),
        next_state=tuple(names.get(s, s) for s in graph.next_state),
    )
    return changed, {i for i, n in enumerate(nodes) if id(n) in moved}

"""Graph -> text. ``parser.py`` is the inverse: ``parse_graph(print_graph(g)) == g``."""

from __future__ import annotations

import json

from .graph import Attr, Graph, Node, Program


def print_program(program: Program) -> str:
    return "\n".join(print_graph(g) for g in program.graphs())


def print_graph(graph: Graph) -> str:
    lines = [f"graph {graph.name}"]
    lines += [f"  in {v.name} : {v.type}" for v in graph.inputs]
    for p in graph.params:
        lines.append(f"  {p.kind} {p.name} : {p.type} = {p.init}")
    for s in graph.states:
        lines.append(f"  state {s.name} : {s.type} = {s.start}")
    lines += [f"  {print_node(n)}" for n in graph.nodes]
    lines.append(f"  out {graph.output}")
    lines += [f"  next {s.name} = {n}" for s, n in zip(graph.states, graph.next_state, strict=True)]
    return "\n".join(lines) + "\n"


def print_node(node: Node) -> str:
    outs = ", ".join(f"{v.name} : {v.type}" for v in node.outputs)
    attrs = " {" + ", ".join(f"{k}={print_attr(v)}" for k, v in node.attrs) + "}" if node.attrs else ""
    where = f"  # {node.where}" if node.where else ""
    return f"{outs} = {node.op}({', '.join(node.inputs)}){attrs}{where}"


def print_attr(value: Attr) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(print_attr(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value)  # one line, whatever the text holds
    words = {True: "true", False: "false", None: "none"}
    return words[value] if value is None or isinstance(value, bool) else repr(value)

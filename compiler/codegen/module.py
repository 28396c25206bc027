"""A program pair (sequence, step) -> the text of the generated module."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ..ir import Graph, Node, Program
from ..ops import OPS
from ..ops.temporal import equations_of
from ..regions import Region, region_of
from .function import emit_function, parameters


def emit_program(header: str, programs: dict[str, Program], native: frozenset[str] = frozenset()) -> str:
    """The module text: one function per distinct layer and mode, and ``sequence`` / ``step``, which run the stack.
    ``native`` names the graphs whose step has a form in C++ too."""
    imports = sorted({name for p in programs.values() for n in _nodes(p) for name in OPS[n.op].imports(dict(n.attrs))})
    recurrences = sorted(used_recurrences(programs))
    regions = [r.name for r in used_regions(programs)]
    reserved = frozenset((*imports, *recurrences, *regions, "native"))
    lines = [header, "import torch", "import torch.nn.functional as F"]
    if imports:
        lines += ["", "from cortexc.kernels import (", *(f"    {name}," for name in imports), ")"]
    if recurrences:
        lines += ["", f"from .kernels import {', '.join(recurrences)}"]
    if regions:
        lines += ["", "from .kernels.regions import (", *(f"    {name}," for name in sorted(regions)), ")"]
    if native:
        lines += ["", "from .kernels import native"]
    for program in programs.values():
        step = program.mode == "step"
        for graph in program.layers.values():
            suffixed = graph.update(name=f"{graph.name}_step") if step else graph
            lines += ["", "", *_in_front(graph, native, step), *emit_function(suffixed, reserved)]
        alone = not program.layers
        entry = program.entry.update(name=program.mode)
        if alone:
            lines += ["", "", *_in_front(program.entry, native, step), *emit_function(entry, reserved)]
        else:
            lines += ["", "", *_entry(program)]
    return "\n".join(lines) + "\n"


def _in_front(graph: Graph, native: frozenset[str], step: bool) -> list[str]:
    """What stands before the function of a graph: its form in C++."""
    return [f"@native.{graph.name}"] if step and graph.name in native else []


def used_recurrences(programs: dict[str, Program]) -> list[str]:
    """The names of the recurrences that the programs run, in the order of first use."""
    return list(
        dict.fromkeys(name for p in programs.values() for n in _nodes(p) if (name := equations_of(n.op, dict(n.attrs))))
    )


def used_regions(programs: dict[str, Program]) -> list[Region]:
    """The distinct fused regions of the programs, in the order of first use."""
    found: dict[str, Region] = {}
    for program in programs.values():
        for graph in program.graphs():
            for node in graph.nodes:
                if node.op == "fused" and str(node.attr("name")) not in found:
                    found[str(node.attr("name"))] = region_of(node, graph)
    return list(found.values())


def _nodes(program: Program) -> Iterator[Node]:
    for graph in program.graphs():
        yield from graph.nodes


def _entry(program: Program) -> list[str]:
    """Runs of equal layers become a loop, so the text does not grow with the depth."""
    name = program.mode
    suffix = "" if name == "sequence" else "_step"
    shape = "[B, T, H]" if name == "sequence" else "[B, H]"
    lines = [
        f"def {name}({parameters(program.entry)}):",
        f'    """x {shape}, state a flat tuple -> y, next state."""',
    ]
    rest = "".join(f", {v.name[1:]}" for v in program.entry.inputs[1:])  # what every layer takes beside its own
    sizes = {g.name: len(g.states) for g in program.layers.values()}
    calls = [n for n in program.entry.nodes if n.op == "call"]
    index, offset, after = 0, 0, []
    for graph_name, run in groupby(calls, key=lambda n: str(n.attr("graph"))):
        count, size = len(list(run)), sizes[graph_name]
        after.append((graph_name, index, count, offset, size))
        index, offset = index + count, offset + count * size
    lines.append("    after = ()")
    for graph_name, index, count, offset, size in after:
        start = f"{offset} + {size} * (i - {index})" if offset or index else f"{size} * i"
        lines += [
            f"    for i in range({index}, {index + count}):",
            f"        s = {start}",
            f"        x, carried = {graph_name}{suffix}(p.layers[i], x, state[s : s + {size}]{rest})",
            "        after += carried",
        ]
    if norm := _norm(program.entry):
        lines.append(f"    x = {norm}")
    lines.append("    return x, after")
    return lines


def _norm(entry: Graph) -> str:
    """The closing norm of the stack, if it has one."""
    for node in entry.nodes:
        if node.op == "layer_norm":
            args = ["x", *(f"p.{i[1:]}" for i in node.inputs[1:])]
            return OPS["layer_norm"].emit(args, dict(node.attrs))
    return ""

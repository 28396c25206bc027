"""The passes in their order. One place to read what happens to a graph, and to add a pass."""

from __future__ import annotations

import os
from collections.abc import Callable

from .ir import Graph, Program, verify
from .ops import shape_rules
from .passes.choose_kernels import choose_kernels
from .passes.common import common_subexpressions
from .passes.dead_code import dead_code
from .passes.fold import fold
from .passes.fuse_pointwise import fuse_pointwise
from .passes.merge_linears import merge_linears
from .passes.name_regions import name_regions
from .passes.side_by_side import side_by_side

Pass = Callable[[Graph], Graph]

BACKENDS = {
    "reference": "the oracle: plain torch, close to the equations, slow",
    "eager": "straight-line torch operators",
    "inductor": "the same through torch.compile",
    "triton": "generated Triton kernels for recurrences, torch for the rest",
    "auto": "triton on a CUDA device, eager elsewhere",
}


NATIVE = ("auto", "triton")  # backends whose steps on a CPU run in C++ where they can: compiler/native


def passes(backend: str) -> tuple[Pass, ...]:
    """What runs for a backend. The reference backend computes the graph as it was written."""
    if backend == "reference":
        return (common_subexpressions, dead_code, choose_kernels(backend))
    shared = (fold, common_subexpressions, merge_linears, dead_code)
    # torch.compile fuses in its own way, and eager is kept readable: regions and lanes are for our own kernels.
    own = (fuse_pointwise, name_regions, side_by_side) if backend in ("triton", "auto") else ()
    return (*shared, *own, choose_kernels(backend))


def optimise(program: Program, backend: str, *, check: bool | None = None) -> Program:
    """Run the passes over every graph. ``check`` verifies after each (default: ``CORTEXC_VERIFY=1``)."""
    check = os.environ.get("CORTEXC_VERIFY") == "1" if check is None else check
    rules = shape_rules()
    for step in passes(backend):
        program = program.map(step)
        if check:
            program.map(lambda g: verify(g, rules))
    return program

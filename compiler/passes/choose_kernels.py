"""Choose kernels: which implementation each stateful node runs on, by backend, and why (for the report).

``reference`` the loop that reads like the equation; ``torch`` torch operators and generated torch loops; ``auto`` the
Triton kernel on a CUDA device, torch elsewhere; ``triton`` the kernel or an error.
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir import Graph, Node, T

IMPLS = {"reference": "reference", "eager": "torch", "inductor": "torch", "triton": "auto", "auto": "auto"}

OWN_STEPS = ("eager", "auto", "triton")  # backends whose steps call what is made for a handful of rows:
STEPS = ("gelu", "linear")  # kernels/gelu.py, kernels/linear.py

HAVE_REFERENCE = (
    "causal_conv",
    "dropout",
    "dropout_factors",
    "dropout_keys",
    "mlstm",
    "routed_adapter",
    "rtu_traces",
    "srht",
    "xl_attention",
)

# Triton kernels of their own: used on a GPU by every backend that is not asked for the plain loop.
HAVE_KERNELS = ("mlstm", "xl_attention")


# What a user chose for the nodes of a core, whatever the backend of the stack: `set_backend`.
CHOSEN: dict[str, str] = {}
# Ops and recurrences that are not called as the core whose computation they are.
CORES = {"axon_fullrank": "axon", "causal_conv": "conv", "rtu_traces": "axon", "srht": "axon", "xl_attention": "xl"}


def choose_kernels(backend: str) -> Callable[[Graph], Graph]:
    def choose(graph: Graph) -> Graph:
        steps = T not in graph.inputs[0].type.shape and backend in OWN_STEPS
        nodes = tuple(_choose(n, backend, steps) for n in graph.nodes)
        return graph.update(nodes=nodes) if nodes != graph.nodes else graph

    chosen = "".join(f", {core}={name}" for core, name in sorted(CHOSEN.items()))
    choose.__name__ = f"choose_kernels[{backend}{chosen}]"
    return choose


def _choose(node: Node, backend: str, steps: bool) -> Node:
    if node.op in STEPS and steps:
        return node.with_attrs(impl="step")
    name = str(node.attr("name")) if node.op == "recurrence" else node.op
    backend = CHOSEN.get(CORES.get(name, name), backend)
    if backend == "reference" and node.attr("mode") == "step":
        backend = "eager"  # a step is no loop: it has one form
    if node.op in ("recurrence", "agalite"):
        return node.with_attrs(impl=IMPLS[backend])
    if node.op in HAVE_KERNELS and backend != "reference":
        return node.with_attrs(impl="auto")
    if node.op in HAVE_REFERENCE:
        return node.with_attrs(impl="reference" if backend == "reference" else "torch")
    return node

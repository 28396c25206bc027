"""Choose kernels: each stateful node names the implementation that its backend stands for."""

from __future__ import annotations

import pytest

from cortexc.compiler.passes.choose_kernels import choose_kernels
from cortexc.compiler.pipeline import BACKENDS

from ..ir.graphs import program
from .support import applied, graph, node

EXPECTED = {
    "reference": {"recurrence": "reference", "mlstm": "reference", "xl_attention": "reference"},
    "eager": {"recurrence": "torch", "mlstm": "auto", "xl_attention": "auto"},
    "inductor": {"recurrence": "torch", "mlstm": "auto", "xl_attention": "auto"},
    "triton": {"recurrence": "auto", "mlstm": "auto", "xl_attention": "auto"},
    "auto": {"recurrence": "auto", "mlstm": "auto", "xl_attention": "auto"},
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_backend(backend: str) -> None:
    (before,) = program("AXMS x2", "sequence").layers.values()
    after = applied(choose_kernels(backend), before)
    found = {n.op: n.attr("impl") for n in after.nodes if n.op in EXPECTED[backend]}
    assert found == EXPECTED[backend]
    assert [n.update(attrs=()) for n in after.nodes] == [n.update(attrs=()) for n in before.nodes]
    assert applied(choose_kernels(backend), after) is after


def test_nothing_to_choose_is_the_same_graph() -> None:
    before = graph(node("tanh", "%x", "%y"), out="%y")
    assert applied(choose_kernels("triton"), before) is before

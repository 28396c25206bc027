"""Under torch.compile a recurrence is one node forward and one backward, whatever T is, and the same function."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

from ...tolerances import assert_close


def compiled(op, backend="aot_eager"):
    def sequence(*args, impl):
        return op.sequence(*args, impl=impl)

    return torch.compile(sequence, fullgraph=True, backend=backend)


@pytest.mark.parametrize("attached", [True, False])
def test_same_as_plain(name, ops, case, evaluate, attached):
    """With the boundary rule: a detached state's traces reach the parameters in the graph too."""
    torch._dynamo.reset()
    op, call = ops[name], case(ops[name], attached=attached)
    plain = evaluate(op, call, "torch")
    for what, value in evaluate(op, call, "torch", compiled(op)).items():
        assert_close(value, plain[what], what=what)


def test_state_made_inside_the_graph(ops, case):
    """Attached and detached are told apart for states that the graph itself makes."""
    torch._dynamo.reset()
    op, call = ops["axon"], case(ops["axon"], attached=False)

    def twice(x, params, state, traces, cut):
        first, state, traces = op.sequence(x, params, None, state, traces, impl="torch")
        if cut:
            state = tuple(s.detach() for s in state)
        second, _, _ = op.sequence(x, params, None, state, traces, impl="torch")
        return first[0].sum() + second[1].sin().sum()

    for cut in (True, False):
        given = (call.x, call.params, call.state, call.traces, cut)
        wanted = torch.autograd.grad(twice(*given), call.params)
        graph = torch.compile(twice, fullgraph=True, backend="aot_eager")
        for g, w in zip(torch.autograd.grad(graph(*given), call.params), wanted, strict=True):
            assert_close(g, w)


def test_graph_does_not_grow(ops, case):
    sizes = []
    for steps in (2, 40):
        torch._dynamo.reset()
        call = case(ops["slstm"], steps=steps)

        def count(graph, inputs):
            sizes.append(len(graph.graph.nodes))
            return graph.forward

        compiled(ops["slstm"], count)(*call.args(), impl="torch")
    assert sizes[0] == sizes[1]


def test_operators_are_sound(ops, case):
    """torch's own check of schema, shapes and autograd registration."""
    for name in ("slstm", "axon"):
        call = case(ops[name])
        arguments = (
            call.x,
            list(call.params),
            call.weight,
            list(call.state),
            list(call.traces),
            call.resets,
            [],
            "torch",
            True,
            [True] * len(call.state),
        )
        checks = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(ops[name]._graph_op, arguments, test_utils=checks)


def test_a_module_loaded_twice(modules, ops):
    path = modules["slstm"].__file__
    spec = importlib.util.spec_from_file_location("generated_slstm_again", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["generated_slstm_again"] = module
    spec.loader.exec_module(module)
    assert module.OP._graph_op is ops["slstm"]._graph_op

"""A function with a time loop as one node of a compiled graph."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cortexc.kernels.opaque import opaque

from ..tolerances import assert_close


def fake(x: Tensor, w: Tensor, b: Tensor | None, scale: float, times: int) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape[0])


def plain(x: Tensor, w: Tensor, b: Tensor | None, scale: float, times: int) -> tuple[Tensor, Tensor]:
    h, outputs = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] * scale + h @ w) if b is None else torch.tanh(x[:, t] * scale + h @ w) + b
        outputs.append(h)
    return torch.stack(outputs, 1), h.sum(-1) * times


looped = opaque("test_looped", fake)(plain)


def draw(bias: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    x, w, b = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((2, 6, 3), (3, 3), (3,)))
    return x, w, b if bias else None


def loss(outputs: tuple[Tensor, Tensor]) -> Tensor:
    return outputs[0].square().sum() + outputs[1].sin().sum()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_compiled_equals_eager(bias: bool, backend: str) -> None:
    torch._dynamo.reset()
    args = draw(bias)
    leaves = [a for a in args if a is not None]
    compiled = torch.compile(looped, fullgraph=True, backend=backend)
    expected = torch.autograd.grad(loss(plain(*args, 0.5, 2)), leaves)
    for function in (looped, compiled, looped.op):
        assert_close(function(*args, 0.5, 2)[0], plain(*args, 0.5, 2)[0])
        for a, b in zip(torch.autograd.grad(loss(function(*args, 0.5, 2)), leaves), expected, strict=True):
            assert_close(a, b)


def test_gradient_of_one_argument_and_one_output_only() -> None:
    x, w, b = draw(True)
    expected = torch.autograd.grad(plain(x, w, b, 0.5, 2)[1].sum(), b)
    x, w = x.detach(), w.detach()
    assert_close(torch.autograd.grad(looped.op(x, w, b, 0.5, 2)[1].sum(), b)[0], expected[0])


@pytest.mark.parametrize("bias", [False, True])
def test_opcheck(bias: bool) -> None:
    torch.library.opcheck(looped.op, (*draw(bias), 0.5, 2))


def test_is_one_node() -> None:
    torch._dynamo.reset()
    names = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        names.extend(str(n.target) for n in graph.graph.nodes if n.op == "call_function")
        return graph

    torch.compile(looped, fullgraph=True, backend=backend)(*draw(True), 0.5, 2)
    assert [n for n in names if "getitem" not in n] == ["cortexc.test_looped.default"]


def test_differentiating_twice_raises() -> None:
    args = draw(True)
    (grad,) = torch.autograd.grad(loss(looped.op(*args, 0.5, 2)), args[0], create_graph=True)
    with pytest.raises(RuntimeError, match="backward"):
        torch.autograd.grad(grad.sum(), args[0])


def test_results_share_no_memory_with_arguments() -> None:
    def same(x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.view(-1)

    op = opaque("test_same", lambda x: (torch.empty_like(x), x.new_empty(x.numel())))(same).op
    x = torch.zeros(2, 3)
    a, b = op(x)
    a.fill_(1)
    assert (x == 0).all()
    assert (b == 0).all()

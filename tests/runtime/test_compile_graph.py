"""torch.compile and torch.export of a whole stack: no graph break, the same function, a graph that T does not grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

from cortexc import CortexInputError

from ..tolerances import assert_close
from .contract import DEVICE, PATTERNS, ROWS, WIDTH, carried, inputs, leaves, make, mask
from .parts import EVERY as ANY
from .parts import PARTS

F64 = torch.float64
STEPS = 9
SINGLE = [pytest.param(p, id=p) for p in PATTERNS if p != "AXMS"]
# Tokens and carets beside those in the quick tier, other parts and the stack of four in the long one.
QUICK = ("L two layers", "C", "Ag", "M^", "S^", "X^")
MORE = [pytest.param(p, id=p, marks=[] if p in QUICK else [pytest.mark.long]) for p in PARTS if p != "C identity"]
EVERY = [*SINGLE, *MORE, pytest.param("AXMS", marks=pytest.mark.long)]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def outcome(stack: torch.nn.Module, run: Callable[..., object], steps: int = STEPS) -> dict[str, Tensor]:
    """y, the next state and the gradients of x, the parameters and the incoming state, with resets inside."""
    with torch.no_grad():
        _, state = stack(inputs(5, F64, seed=7))
    state = state.clone()
    wanted = {k: v.requires_grad_() for k, v in carried(state).items()}
    x = inputs(steps, F64).requires_grad_()
    y, after = run(x, state, resets=mask("random", steps))  # type: ignore[misc]
    loss = y.square().sum() + sum(v.sin().sum() for v in carried(after).values())
    given = {"x": x, **wanted, **dict(stack.named_parameters())}
    grads = torch.autograd.grad(loss, list(given.values()), allow_unused=True)
    found = {"y": y, **{f"next {k}": v for k, v in leaves(after).items()}}
    found |= {f"gradient of {k}": torch.zeros(()) if g is None else g for k, g in zip(given, grads, strict=True)}
    return {k: v.detach() for k, v in found.items()}


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert_close(value, expected[name], None if not value.is_floating_point() else F64, name)


@pytest.mark.parametrize("name", EVERY)
def test_one_graph_with_the_same_numbers_and_gradients(name: str) -> None:
    stack = make(ANY[name], "eager", F64)
    compiled = torch.compile(stack, fullgraph=True, backend="aot_eager")
    same(outcome(stack, compiled), outcome(stack, stack))
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


@pytest.mark.parametrize("name", EVERY)
def test_the_graph_does_not_grow_with_the_sequence(name: str) -> None:
    """The loop over time is inside an operator: nodes stay the same, and dynamic shapes make one graph serve all T."""
    stack, sizes = make(ANY[name], "eager", F64), []
    for steps in (9, 33):
        torch._dynamo.reset()

        def count(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
            sizes.append(len(graph.graph.nodes))
            return graph.forward

        with torch.no_grad():
            torch.compile(stack, fullgraph=True, backend=count, dynamic=False)(inputs(steps, F64))
    assert len(sizes) == 2 and sizes[0] == sizes[1]


@pytest.mark.parametrize("name", EVERY)
def test_one_graph_serves_every_length(name: str) -> None:
    stack, counter = make(ANY[name], "eager", F64), CompileCounterWithBackend("eager")
    compiled = torch.compile(stack, fullgraph=True, backend=counter, dynamic=True)
    with torch.no_grad():
        for steps in (9, 33, 20, 64):
            x = inputs(steps, F64)
            assert_close(compiled(x)[0], stack(x)[0])
    assert counter.frame_count <= 2  # the second only where a length is special


@pytest.mark.parametrize("name", EVERY)
def test_steps(name: str) -> None:
    """A step is one graph too, and carrying the state through it gives what eager steps give."""
    stack, counter = make(ANY[name], "eager", F64), CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(stack, fullgraph=True, backend=counter)
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    state = other = stack.init_state(ROWS)
    with torch.no_grad():
        for t in range(4):
            y, state = compiled(x[:, t], state, resets=m[:, t])
            z, other = stack.step(x[:, t], other, resets=m[:, t])
            assert_close(y, z, what=f"step {t}")
    assert counter.frame_count == 1


def test_refusals_stay_refusals() -> None:
    compiled = torch.compile(make("A", "eager", F64), backend="eager")
    with pytest.raises(CortexInputError, match="x has width 8"):
        compiled(inputs(3, F64)[..., : WIDTH // 2])


def test_part_of_a_larger_model() -> None:
    class Policy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode = torch.nn.Linear(4, WIDTH, dtype=F64, device=DEVICE)
            self.memory = make("A", "eager", F64)
            self.head = torch.nn.Linear(WIDTH, 2, dtype=F64, device=DEVICE)

        def forward(self, x: Tensor, resets: Tensor) -> Tensor:
            y, _ = self.memory(self.encode(x), None, resets=resets)
            return self.head(y)

    torch.manual_seed(0)
    model = Policy()
    x, m = inputs(STEPS, F64)[..., :4], mask("random", STEPS)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x, m), model(x, m))


@pytest.mark.parametrize("name", SINGLE)
def test_a_step_can_be_exported(name: str) -> None:
    """On flat leaves, which every version of torch.export and tensordict can hand through."""
    stack = make(ANY[name], "eager", F64)
    x, state = inputs(2, F64)[:, 0], stack.init_state(ROWS)
    held = stack.layout.unpack(state, ROWS, x.device, x.dtype)
    program = torch.export.export(stack, (x, held), {"flat": True})
    (y, after), (z, other) = program.module()(x, held, flat=True), stack(x, state)
    assert_close(y, z)
    for leaf, wanted in zip(after, stack.layout.unpack(other, ROWS, x.device, x.dtype), strict=True):
        assert_close(leaf, wanted)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["whole", "backend"])
def test_inductor(mode: str) -> None:
    """torch.compile around the stack, and the backend of that name, which compiles layer by layer."""
    stack = make(PATTERNS["S"], "eager", F64)
    other = make(PATTERNS["S"], "inductor", F64)
    run = torch.compile(stack, fullgraph=True) if mode == "whole" else other
    found = outcome(stack if mode == "whole" else other, run)
    same(found, outcome(stack, stack))

"""Loading generated modules, random cases, and every result and gradient of one call."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from cortexc.compiler.library.recurrences import axon, gru, lru, lstm, mingru, minlstm, slstm
from cortexc.compiler.recurrence import Recurrence, State, emit_module, log, maximum, recurrence, sigmoid, tanh, where
from cortexc.kernels.recurrence import RecurrenceOp

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


# A cell that the library does not have, from ten lines: affine, with a transition that depends on the input.
@recurrence(inputs="z h", state="h", params="a", outputs="h")
def scaled(x, s, p):
    """A minimal GRU with a scale of the gate as a parameter."""
    z = sigmoid(p.a * x.z)
    return State(h=(1.0 - z) * s.h + z * x.h)


# Diagonal and not affine, two state variables, one not given out, a start other than 0.
@recurrence(inputs="u v", state="h k", params="a b", outputs="h", initial={"h": 0.5, "k": 1.0})
def leaky(x, s, p):
    drive = p.a * s.h + x.u + maximum(p.b, 0.25) * s.k
    h = where(x.v < 0.0, tanh(drive), 0.5 * drive)
    return State(h=h, k=0.9 * s.k + 0.1 * sigmoid(h))


# Affine, with a start other than 0 and a state variable that is not given out.
@recurrence(inputs="u", state="h k", params="a b", outputs="h", initial={"k": 2.0})
def ramp(x, s, p):
    return State(h=p.a * s.h + 0.1 * s.k + x.u, k=sigmoid(p.b) * s.k + log(1.5 + sigmoid(x.u)))


RECURRENCES = {rec.name: rec for rec in (slstm, lstm, gru, lru, minlstm, mingru, axon, scaled, leaky, ramp)}
TRACED = [name for name, rec in RECURRENCES.items() if rec.params and not rec.recurrent]


@dataclass(frozen=True)
class Call:
    """The arguments of one `sequence`."""

    x: Tensor
    params: tuple[Tensor, ...]
    weight: Tensor | None
    state: tuple[Tensor, ...]
    traces: tuple[Tensor, ...]
    resets: Tensor | None

    def leaves(self) -> list[Tensor]:
        every = (self.x, *self.params, self.weight, *self.state)
        return [t for t in every if t is not None and t.requires_grad]

    def to(self, dtype: torch.dtype) -> Call:
        def move(t: Tensor) -> Tensor:
            return t.detach().to(dtype).requires_grad_(t.requires_grad)

        return Call(
            move(self.x),
            tuple(map(move, self.params)),
            move(self.weight) if self.weight is not None else None,
            tuple(map(move, self.state)),
            tuple(map(move, self.traces)),
            self.resets,
        )

    def args(self) -> tuple:
        return self.x, self.params, self.weight, self.state, self.traces, self.resets


def load(rec: Recurrence, folder: Path) -> ModuleType:
    path = folder / f"generated_{rec.name}.py"
    path.write_text(emit_module(rec))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleType]:
    folder = tmp_path_factory.mktemp("generated")
    return {name: load(rec, folder) for name, rec in RECURRENCES.items()}


@pytest.fixture(scope="session")
def ops(modules: dict[str, ModuleType]) -> dict[str, RecurrenceOp]:
    return {name: module.OP for name, module in modules.items()}


def make_call(
    op: RecurrenceOp,
    *,
    rows: int = 2,
    steps: int = 5,
    heads: int = 2,
    width: int = 3,
    resets: str = "random",
    attached: bool = True,
    traces: bool = True,
    seed: int = 0,
) -> Call:
    """Random float64 numbers on DEVICE; the state is not negative, as a normaliser would be."""
    generator = torch.Generator().manual_seed(seed)
    cell, channels = op.cell, heads * width

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(DEVICE)

    weight = None
    if cell.recurrent is not None:
        weight = draw(heads, len(cell.gates), width, width, scale=width**-0.5).requires_grad_()
    random = torch.rand(rows, steps, generator=generator).to(DEVICE)
    masks = {
        "none": None,
        "false": random < 0.0,
        "random": random < 0.3,
        "first": torch.arange(steps, device=DEVICE).expand(rows, steps) == 0,
        "last": torch.arange(steps, device=DEVICE).expand(rows, steps) == steps - 1,
        "all": random < 2.0,
    }
    return Call(
        x=draw(rows, steps, len(cell.inputs), channels).requires_grad_(),
        params=tuple(draw(channels, scale=0.3).requires_grad_() for _ in cell.params),
        weight=weight,
        state=tuple(draw(rows, channels, scale=0.5).abs().requires_grad_(attached) for _ in cell.state),
        traces=tuple(draw(rows, channels) for _ in range(cell.traced)) if traces else (),
        resets=masks[resets],
    )


def run(op: RecurrenceOp, call: Call, impl: str, sequence: Callable | None = None) -> dict[str, Tensor]:
    """Every result and every gradient of one call under a fixed random loss, by name."""
    outputs, last, traces = (sequence or op.sequence)(*call.args(), impl=impl)
    generator = torch.Generator().manual_seed(1)
    results = [*outputs, *last]
    seeds = [torch.randn(r.shape, generator=generator, dtype=torch.float64).to(r) for r in results]
    grads = torch.autograd.grad(results, call.leaves(), seeds)
    named = {f"output {i}": y for i, y in enumerate(outputs)}
    named |= {f"last {n}": s for n, s in zip(op.cell.state, last, strict=True)}
    named |= {f"trace {i}": e for i, e in enumerate(traces)}
    named |= {f"gradient {i} {tuple(g.shape)}": g for i, g in enumerate(grads)}
    return {name: value.detach() for name, value in named.items()}


@pytest.fixture
def case() -> Callable[..., Call]:
    return make_call


@pytest.fixture
def evaluate() -> Callable[..., dict[str, Tensor]]:
    return run


@pytest.fixture
def variant() -> Callable[..., Call]:
    """A call with some arguments replaced."""
    return replace


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.empty and empty_like give NaN: what is read before it is written shows."""
    empty, empty_like = torch.empty, torch.empty_like

    def fill(made: Tensor) -> Tensor:
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", lambda *a, **k: fill(empty(*a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: fill(empty_like(*a, **k)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`name` runs over every recurrence, `traced` over those with eligibility traces."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", list(RECURRENCES))
    if "traced" in metafunc.fixturenames:
        metafunc.parametrize("traced", TRACED)

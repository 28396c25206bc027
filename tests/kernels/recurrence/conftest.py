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
from cortexc.compiler.library.recurrences.agalite import agalite
from cortexc.compiler.recurrence import (
    Outputs,
    Recurrence,
    State,
    emit_module,
    log,
    maximum,
    recurrence,
    sigmoid,
    tanh,
    total,
    where,
)
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


# Read-outs: a window of inputs, none of which reads itself. One of its parameters does not reach the state.
def window(size):
    """The causal convolution of `size` taps as equations (``kernels/conv`` is what runs)."""
    taps = range(size)

    @recurrence(
        name=f"window{size}",
        inputs="u",
        state=" ".join(f"b{i}" for i in taps),
        params=f"{' '.join(f'k{i}' for i in taps)} bias",
        outputs="y",
    )
    def equations(x, s, p):
        new = [*(getattr(s, f"b{i}") for i in taps[1:]), x.u]
        y = sum((getattr(p, f"k{i}") * v for i, v in enumerate(new)), start=p.bias)
        return State(**{f"b{i}": v for i, v in enumerate(new)}), Outputs(y=y)

    return equations


# A read-out beside an output that is state; not affine, and with a matrix whose gate the read-out reads too.
@recurrence(inputs="u o", state="h c", params="a", recurrent="h", gates="u o", outputs="y h")
def tapped(x, s, r, p):
    c = 0.5 * s.c + tanh(x.u + r.u)
    h = sigmoid(x.o + r.o) * tanh(c)
    return State(h=h, c=c), Outputs(y=h * x.o + p.a * c)


# Heads: everything that may be shared, or summed, with a state variable of each kind, parameters and other starts.
@recurrence(inputs="u p[e] g[e] w[]", state="m[ed] v k", params="a b", outputs="y k", initial={"m": 0.5, "k": -1.0})
def shared(x, s, p):
    keep = sigmoid(x.g + x.u * p.a)
    m = keep * s.m + x.w * (x.p + x.u)
    k = 0.5 * s.k + p.b * x.u
    v = sigmoid(x.u) * s.v + 0.25 * s.k + x.w
    near, far = total(m * tanh(x.p)), total(x.u * v + x.p)
    return State(m=m, v=v, k=k), Outputs(y=v * sigmoid(near) + far * x.u * p.a)


AFFINE_HEADS = (agalite(2, 1e-5), agalite(3, 1e-3), shared)
CELLS = (slstm, lstm, gru, lru, minlstm, mingru, axon, scaled, leaky, ramp, window(3), tapped, *AFFINE_HEADS)
RECURRENCES = {rec.name: rec for rec in CELLS}
TRACED = ["lru", "minlstm", "mingru", "axon", "scaled", "leaky", "ramp"]
FEATURES = 3


class Packed:
    """An op whose channels belong to heads, taking all inputs of a head as one row, [B, T, N, …], so that every check
    runs on it too. Data stands last and is detached."""

    def __init__(self, op):
        self.op, self.cell = op, op.cell

    def __getattr__(self, name):
        return getattr(self.op, name)

    def apart(self, x):
        count = {axes: self.cell.input_axes.count(axes) for axes in ("d", "e", "")}
        features, numbers = count["e"] * FEATURES, count[""]
        width = (x.shape[-1] - features - numbers) // count["d"]
        parts = x.split([count["d"] * width, features, numbers], -1)
        channels, rest = parts[0].unflatten(-1, (count["d"], width)), []
        if features:
            rest.append(parts[1].unflatten(-1, (count["e"], FEATURES)))
        if numbers:
            rest.append(parts[2].detach())
        return channels, *rest

    def sequence(self, x, *args, **options):
        return self.op.sequence(self.apart(x), *args, **options)

    def step(self, x, *args, **options):
        return self.op.step(self.apart(x), *args, **options)


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
    return {name: Packed(m.OP) if m.OP.cell.headed else m.OP for name, m in modules.items()}


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
    x = (len(cell.inputs), channels)
    shapes = {"d": (channels,)}
    if cell.headed:
        sizes = {"d": width, "e": FEATURES, "": 1}
        x = (heads, sum(sizes[axes] for axes in cell.input_axes))
        shapes = {"d": (heads, width), "ed": (heads, FEATURES, width)}
    return Call(
        x=draw(rows, steps, *x).requires_grad_(),
        params=tuple(draw(channels, scale=0.3).requires_grad_() for _ in cell.params),
        weight=weight,
        state=tuple(draw(rows, *shapes[a], scale=0.5).abs().requires_grad_(attached) for a in cell.state_axes),
        traces=tuple(draw(rows, channels) for _ in range(cell.traced)) if traces else (),
        resets=masks[resets],
    )


def run(op: RecurrenceOp, call: Call, impl: str, sequence: Callable | None = None) -> dict[str, Tensor]:
    """Every result and every gradient of one call under a fixed random loss, by name."""
    outputs, last, traces = (sequence or op.sequence)(*call.args(), impl=impl)
    generator = torch.Generator().manual_seed(1)
    results = [*outputs, *last]
    seeds = [torch.randn(r.shape, generator=generator, dtype=torch.float64).to(r) for r in results]
    grads = torch.autograd.grad(results, call.leaves(), seeds, materialize_grads=True)  # a start may be unread
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

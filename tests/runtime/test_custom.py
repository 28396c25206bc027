"""Parts of users in compiled stacks, on every backend: the contract (spec §1), names, copies, reports. Covers U2-U15,
Z1-Z3, P5."""

from __future__ import annotations

import copy
import pickle
from functools import cache
from typing import Any

import pytest
import torch
from pydantic import Field
from tensordict import TensorDict
from torch import Tensor, nn

import cortexc
from cortexc import (
    CoreConfig,
    CortexStackConfig,
    MemoryCore,
    RoutedAdapterConfig,
    build_cortex,
    check_core,
    register_core,
)
from cortexc.cells import CellConfig
from cortexc.config import (
    AdapterScaffoldConfig,
    ColumnScaffoldConfig,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    PostUpGatedScaffoldConfig,
    PreUpScaffoldConfig,
    mLSTMCoreConfig,
)
from cortexc.runtime import CompiledStack
from cortexc.stacks import build_column_auto_config, build_cortex_auto_stack

from ..tolerances import assert_close
from .contract import DEVICE, ROWS, WIDTH, check_gradients, inputs, leaves, make, mask, pieces, run
from .custom_parts import (  # noqa: F401  (gru_token is a fixture)
    AxonGatedConfig,
    CountingConfig,
    GRUConfig,
    NoStateConfig,
    SidewaysConfig,
    gru_token,
)

pytestmark = pytest.mark.usefixtures("gru_token")

STEPS = 13
F32, F64 = torch.float32, torch.float64


def _stack(*layers: object) -> CortexStackConfig:
    return CortexStackConfig(d_hidden=WIDTH, scaffolds=layers)


_INNER = CortexStackConfig(scaffolds=[PassThroughScaffoldConfig(core=GRUConfig())] * 2)

PARTS: dict[str, object] = {
    "core alone": GRUConfig(hidden_size=WIDTH, num_layers=2),
    "scaffold alone": SidewaysConfig(core=mLSTMCoreConfig(chunk_size=4)),
    "token": "Gru A(use_srht=true)",
    "counter": _stack(PassThroughScaffoldConfig(core=CountingConfig())),
    "axon layers": _stack(PostUpGatedScaffoldConfig(core=AxonGatedConfig())),
    "own around own": _stack(SidewaysConfig(core=GRUConfig()), SidewaysConfig(core=GRUConfig())),
    "own around a stack": _stack(
        SidewaysConfig(core=CortexStackConfig(scaffolds=[PassThroughScaffoldConfig(core=LSTMCoreConfig())]))
    ),
    "inside stacks as cores": _stack(PreUpScaffoldConfig(core=_INNER), SidewaysConfig(core=_INNER)),
    "experts": _stack(
        ColumnScaffoldConfig(
            experts=[
                PreUpScaffoldConfig(core=GRUConfig()),
                SidewaysConfig(core=LSTMCoreConfig()),
                PassThroughScaffoldConfig(core=NoStateConfig()),
            ]
        )
    ),
    "wrapped": _stack(AdapterScaffoldConfig(scaffold=SidewaysConfig(core=AxonGatedConfig()), bottleneck=3)),
}
BACKENDS = ("reference", "eager", "auto")


@cache
def part(name: str, backend: str, dtype: torch.dtype = F64) -> CompiledStack:
    return make(PARTS[name], backend, dtype)  # type: ignore[arg-type]


@cache
def oracle(name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The reference backend, every episode run by itself from a fresh state: no reset code takes part."""
    stack, x, m = part(name, "reference"), inputs(STEPS, F64), mask("random", STEPS)
    assert m is not None
    y, last = torch.empty_like(x), []
    with torch.no_grad():
        for row in range(ROWS):
            starts = sorted({0, *(t for t in range(STEPS) if m[row, t])})
            for start, end in zip(starts, [*starts[1:], STEPS], strict=True):
                y[row : row + 1, start:end], state = stack(x[row : row + 1, start:end])
            last.append(leaves(state))
    return y, {path: torch.cat([each[path] for each in last]) for path in last[0]}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_function(name: str, backend: str) -> None:
    """Outputs and final state do not depend on cuts, steps or the backend; a reset is a fresh start."""
    expected, state = oracle(name)
    for cut in ("whole", "random", "steps"):
        with torch.no_grad():
            y, after = run(
                part(name, backend),
                inputs(STEPS, F64),
                mask("random", STEPS),
                pieces(cut, STEPS),
                by_step=cut == "steps",
            )
        assert_close(y, expected, F64, cut)
        assert leaves(after).keys() == state.keys()
        for path, leaf in leaves(after).items():
            assert_close(leaf, state[path], leaf.dtype, path)


@pytest.mark.parametrize("name", PARTS)
def test_gradients(name: str) -> None:
    check_gradients(part(name, "eager"), part(name, "reference"), STEPS, F64)


@pytest.mark.parametrize("name", PARTS)
def test_contract(name: str) -> None:
    """check_core finds nothing; it takes compiled stacks too."""
    report = check_core(part(name, "eager"))
    assert report.ok, str(report)


@pytest.mark.parametrize("backend", ["inductor", "triton"])
def test_other_backends(backend: str) -> None:
    """torch.compile and Triton leave the module as it is, and take what is around it."""
    x, m = inputs(4, F32), mask("random", 4)
    config = _stack(PassThroughScaffoldConfig(core=GRUConfig()), PassThroughScaffoldConfig(core=NoStateConfig()))
    with torch.no_grad():
        expected, state = make(config, "eager", F32)(x, resets=m)
        y, after = make(config, backend, F32)(x, resets=m)
    assert_close(y, expected)
    assert_close(after["PassThroughScaffold_0", "GRU", "h"], state["PassThroughScaffold_0", "GRU", "h"])


def test_own_torch_compile() -> None:
    """A user who compiles the stack gets the same numbers, with breaks around the modules."""
    stack = part("axon layers", "eager", F32)
    x = inputs(4, F32)
    with torch.no_grad():
        y, _ = torch.compile(stack, backend="eager")(x)
        assert_close(y, stack(x)[0])


def test_names() -> None:
    """Parameters follow the spec; states nest under the class, the scaffold and the layer (spec §1.5)."""
    stack = part("experts", "eager")
    names = dict(stack.named_parameters())
    assert {"layers.0.experts.0.core.net.weight_ih_l0", "layers.0.experts.1.core.weight_hh_l0"} < names.keys()
    assert {"layers.0.experts.1.down.weight", "layers.0.experts.2.core.map.bias"} < names.keys()
    assert isinstance(stack.layers[0].experts[0].core.net, nn.GRU)
    column = "ColumnScaffold_0"
    assert {path: tuple(leaf.shape[1:]) for path, leaf in leaves(stack.init_state(ROWS)).items()} == {
        f"{column}/expert_PreUpScaffold_0/GRU/h": (1, 2 * WIDTH),
        f"{column}/expert_Sideways_1/LSTMCore/c": (1, WIDTH // 2),
        f"{column}/expert_Sideways_1/LSTMCore/h": (1, WIDTH // 2),
        f"{column}/expert_Sideways_1/last": (WIDTH,),
    }
    assert set(leaves(part("core alone", "eager").init_state(1))) == {"h"}
    assert "core.net.weight_hh_l1" in dict(part("core alone", "eager").named_parameters())
    wrapped = "AdapterScaffold_0/wrapped/AxonGated"
    assert f"{wrapped}/gates/inner/hc1" in leaves(part("wrapped", "eager").init_state(1))
    assert f"{wrapped}/tick" in leaves(part("wrapped", "eager").init_state(1))


def test_kinds_of_leaves() -> None:
    """A leaf keeps what init_state says of it: model dtype, accumulator, counter, flag, and where it starts."""
    stack = make(PARTS["counter"], "eager", F32).bfloat16()
    state = stack.init_state(2)["PassThroughScaffold_0", "Counting"]
    expected = {"last": torch.bfloat16, "sum": F32, "steps": torch.int64, "seen": torch.bool}
    y, after = stack(inputs(3, torch.bfloat16)[:2])
    for found in (state, after["PassThroughScaffold_0", "Counting"]):
        kinds = {path.rpartition("/")[2]: leaf.dtype for path, leaf in leaves(found).items()}
        assert kinds == expected
    assert y.dtype == torch.bfloat16 and bool((state["last"] == -1).all())
    assert leaves(stack.reset_state(after, torch.tensor([True, False], device=DEVICE)))[
        "PassThroughScaffold_0/Counting/steps"
    ].tolist() == [0, 3]


@pytest.mark.parametrize("name", ["token", "own around own", "wrapped"])
def test_copies(name: str) -> None:
    """state_dict, pickle, deepcopy and casts carry the user's modules like all others."""
    stack = part(name, "eager")
    x = inputs(4, F64)
    expected = stack(x)[0]
    fresh = make(PARTS[name], "eager", F64)
    with torch.no_grad():
        for p in fresh.parameters():
            p.zero_()
    fresh.load_state_dict(stack.state_dict())
    for other in (fresh, copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))):
        assert torch.equal(other(x)[0], expected)
        assert not {p.data_ptr() for p in other.parameters()} & {p.data_ptr() for p in stack.parameters()}
    narrow = copy.deepcopy(stack).float()
    assert all(p.dtype == F32 for p in narrow.parameters())
    assert_close(narrow(x.float())[0], expected.float())


def test_stepper_and_recording() -> None:
    """The stepper gives what steps give. Recording is for classes that say that they may be recorded."""
    stack = part("token", "eager")
    stepper, x, state = stack.stepper(ROWS), inputs(4, F64), None
    for t in range(4):
        m = mask("random", 4)[:, t]  # type: ignore[index]
        y, state = stack.step(x[:, t], state, resets=m)
        assert_close(stepper(x[:, t], resets=m), y)
    assert not stack.capturable and part("axon layers", "eager").capturable
    assert not part("own around own", "eager").capturable
    assert cortexc.compile("A", d_hidden=8).capturable


def test_report() -> None:
    """Parts of users have rows like all others, and the totals are those of the real module."""
    for name in PARTS:
        stack = part(name, "eager", F32)
        report = stack.summary()
        assert report.total_params == sum(p.numel() for p in stack.parameters()), name
    report = part("core alone", "eager", F32).summary()
    gru = 3 * 2 * 2 * WIDTH * WIDTH * 2  # three gates, two layers, two matrices, multiply and add
    assert (report.total_flops_per_token, report.total_state_bytes) == (gru, 2 * WIDTH * 4)
    row = report.rows[0]
    assert (row.core, row.kernel) == ("gru", "your module")
    inner = cortexc.compile(LSTMCoreConfig(hidden_size=8), backend="eager").summary().total_flops_per_token
    around = cortexc.compile(SidewaysConfig(core=LSTMCoreConfig()), d_hidden=16, backend="eager").summary()
    assert around.total_flops_per_token == inner + 2 * 2 * 8 * 16


def test_builders() -> None:
    """Z3: registered parts work in patterns, cells, columns, builders and overrides."""
    x = torch.randn(2, 3, WIDTH)
    cell = CellConfig(scaffold=PreUpScaffoldConfig(), core=GRUConfig())
    stack = build_cortex_auto_stack(
        d_hidden=WIDTH,
        layers=[[cell, SidewaysConfig(core=GRUConfig())], [GRUConfig()]],
        override_global_configs=[GRUConfig(num_layers=2), SidewaysConfig(gate_bias=1.5)],
        backend="eager",
    )
    assert stack(x)[0].shape == x.shape
    assert stack.layers[0].experts[0].core.num_layers == stack.layers[1].experts[0].core.num_layers == 2
    assert stack.layers[0].experts[1].cfg.gate_bias == 1.5 and stack.layers[0].experts[1].core.num_layers == 2
    column = build_column_auto_config(d_hidden=WIDTH, pattern="Gru Q", custom_map={"Q": cell})
    stack = build_cortex(CortexStackConfig(d_hidden=WIDTH, scaffolds=[column] * 2), backend="eager")
    assert stack(x)[0].shape == x.shape
    assert "layers.1.experts.1.core.net.weight_ih_l0" in stack.state_dict()
    many = cortexc.compile("Gru(num_layers=2) x3", d_hidden=WIDTH, backend="eager")
    assert [layer.experts[0].core.num_layers for layer in many.layers] == [2, 2, 2]
    assert "for i in range(0, 3)" in (many.folder / "module.py").read_text()


class OddConfig(CoreConfig):
    """Fields that no text holds: a dict, a config."""

    table: dict[str, float] = Field(default_factory=dict)
    inner: LSTMCoreConfig = LSTMCoreConfig()


@register_core(OddConfig)
class Odd(MemoryCore):
    def __init__(self, cfg: OddConfig) -> None:
        super().__init__(cfg)
        self.map = nn.Linear(self.hidden_size, self.hidden_size)

    def init_state(self, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        return TensorDict({}, batch_size=[batch])

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, None]:
        return self.map(x), None


def test_configs_without_a_text_form() -> None:
    """A spec that cannot be written as a pattern compiles, and comes back from its package as it was."""
    config = OddConfig(hidden_size=8, table={"a": 1.5}, inner=LSTMCoreConfig(num_layers=2))
    stack = cortexc.compile(config, backend="eager")
    assert stack.spec == config
    other = cortexc.load(stack.folder, backend="reference", device="meta")
    assert other.core.cfg == config and other.core.map.weight.is_meta


def test_routed_adapters() -> None:
    """Adapters go around a user's module: its own maps have none, those of its neighbours do."""
    cells = [CellConfig(scaffold=PreUpScaffoldConfig(), core=GRUConfig()), SidewaysConfig(core=LSTMCoreConfig())]
    adapter = RoutedAdapterConfig(num_slots=3, rank=2)
    stack = build_cortex_auto_stack(d_hidden=WIDTH, layers=[cells], routed_adapter=adapter, backend="eager")
    names = [name for name, _ in stack.named_parameters() if "adapter" in name]
    assert any(name.startswith("layers.0.experts.0.in_proj.") for name in names)
    assert not any(name.startswith(("layers.0.experts.0.core.", "layers.0.experts.1.")) for name in names)
    x, routes = torch.randn(2, 3, WIDTH), torch.tensor([0, 2])
    assert_close(stack(x, route_ids=routes)[0], stack(x, route_ids=routes.flip(0))[0])


def test_modules_by_themselves() -> None:
    """A MemoryCore, a BaseScaffold and the built-in parts keep the same contract when they are called directly."""
    from cortexc.cores import LSTMCore
    from cortexc.scaffolds import PreUpScaffold

    from .custom_parts import GRU, AxonGated, Counting, Sideways

    parts = [
        GRU(GRUConfig(hidden_size=8)),
        Counting(CountingConfig(hidden_size=8)),
        AxonGated(AxonGatedConfig(hidden_size=8)),
        Sideways(SidewaysConfig(core=LSTMCoreConfig()), 16),
        Sideways(SidewaysConfig(core=GRUConfig()), 16),
        LSTMCore(LSTMCoreConfig(hidden_size=8)),
        PreUpScaffold(PreUpScaffoldConfig(core=LSTMCoreConfig()), d_hidden=8),
    ]
    for module in parts:
        report = check_core(module)
        assert report.ok, str(report)
        assert all(p.dtype == F32 for p in module.parameters())
    core = parts[0]
    stack = cortexc.compile(GRUConfig(hidden_size=8), backend="eager")
    stack.core.load_state_dict(core.state_dict())
    x = torch.randn(2, 5, 8)
    assert torch.equal(core(x)[0], stack(x)[0])
    y, _ = core.step(x[:, 0], resets=torch.ones(2, 1))
    assert_close(y, stack(x)[0][:, 0])


def test_seeded_start() -> None:
    """Asking a module what it holds draws no random numbers: the same seed gives the same start, compiled or cached."""
    starts = []
    for backend in ("eager", "eager", "reference"):
        torch.manual_seed(5)
        starts.append(cortexc.compile(GRUConfig(hidden_size=24), backend=backend, device=DEVICE).core.net.weight_ih_l0)
    assert torch.equal(starts[0], starts[1]) and torch.equal(starts[0], starts[2])

"""Any part compiles by itself, to a module with the same contract. Covers U2, U9, U10, C1-C7, C9, S1-S7, E1-E9."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch

import cortexc
from cortexc.compiler import build
from cortexc.compiler.alone import as_stack
from cortexc.cortex_dsl import (
    AdapterScaffoldConfig,
    AGaLiTeCellConfig,
    AGaLiTeCoreConfig,
    AxonCellConfig,
    AxonCoreConfig,
    CausalConv1dCellConfig,
    CausalConv1dCoreConfig,
    CellConfig,
    ColumnScaffoldConfig,
    CortexStackConfig,
    LSTMCellConfig,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpScaffoldConfig,
    TissueConfig,
    XLCellConfig,
    XLCoreConfig,
    mLSTMCellConfig,
    mLSTMCoreConfig,
    sLSTMCellConfig,
    sLSTMCoreConfig,
)
from cortexc.cortex_dsl.spec import Node
from cortexc.cortex_dsl.spec.cores import BUILT_IN_CORES
from cortexc.cortex_dsl.spec.scaffolds import BUILT_IN_SCAFFOLDS
from cortexc.runtime import CompiledStack, CortexStateError

from ...runtime.contract import DEVICE, ROWS, WIDTH, check_gradients, inputs, leaves, mask, pieces, run
from ...tolerances import assert_close

STEPS = 13
B, T = 2, 5


def test_core() -> None:
    """Flat state, parameters at the top, the width of the core; a report and a spec of its own."""
    core = cortexc.compile(LSTMCoreConfig(hidden_size=24, num_layers=2), backend="eager")
    x = torch.randn(B, T, 24)
    y, state = core(x)
    assert y.shape == x.shape and set(state.keys()) == {"h", "c"} and "weight_ih_l1" in core.state_dict()
    assert type(core.spec) is LSTMCoreConfig and core.spec.hidden_size == 24
    report = core.summary()
    assert report.total_params == sum(p.numel() for p in core.parameters())
    assert report.total_state_bytes == sum(v.numel() * v.element_size() for v in state.values()) // B
    with pytest.raises(CortexStateError, match="missing h"):
        core(x, state.exclude("h"))


def test_width_of_the_call() -> None:
    """hidden_size is the core's own; without one, and for scaffolds and cells, d_hidden counts."""
    assert cortexc.compile(mLSTMCoreConfig(), d_hidden=16, backend="eager").d_hidden == 16
    assert cortexc.compile(mLSTMCoreConfig(hidden_size=32), d_hidden=16, backend="eager").d_hidden == 32
    scaffold = cortexc.compile(PostUpScaffoldConfig(core=LSTMCoreConfig(hidden_size=99)), d_hidden=16, backend="eager")
    assert list(scaffold.init_state(B).keys()) == ["LSTMCore"] and scaffold.core.weight_hh_l0.shape == (64, 16)
    cell = cortexc.compile(XLCellConfig(), d_hidden=16, backend="eager")
    assert cell(torch.randn(B, T, 16))[0].shape == (B, T, 16) and "core.q_proj.weight" in cell.state_dict()
    with pytest.raises(TypeError, match="TissueConfig"):
        cortexc.compile(TissueConfig(width=2, height=2))


@pytest.mark.parametrize(
    "config", [AxonCoreConfig(hidden_size=16, out_dim=5), PostUpScaffoldConfig(core=LSTMCoreConfig())]
)
def test_copies_and_packages(config: object, tmp_path: Path) -> None:
    """deepcopy, pickle and a package on disk, also for another backend, are the same module."""
    module = cortexc.compile(config, d_hidden=16, backend="eager", dtype=torch.float64)  # type: ignore[arg-type]
    x = torch.randn(B, T, 16, dtype=torch.float64)
    y = module(x)[0]
    spec, part = as_stack(config, 16)  # type: ignore[arg-type]
    folder = build(spec, part=part, backend="eager", dtype="float64").write(tmp_path, "one_part")
    others = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    others += [CompiledStack(folder), CompiledStack(folder, backend="reference")]
    for other in others:
        other.load_state_dict(module.state_dict())
        assert torch.allclose(other(x)[0], y, atol=1e-12) and type(other.spec) is type(config)


CORES = (
    *(kind() for kind in BUILT_IN_CORES if kind not in (AGaLiTeCoreConfig, XLCoreConfig, AxonCoreConfig)),
    AGaLiTeCoreConfig(n_heads=4),
    AxonCoreConfig(),
    AxonCoreConfig(use_srht=True, use_fullrank_rtu=True, activation="tanh"),
    XLCoreConfig(mem_len=3),
    XLCoreConfig(mem_len=3, use_axon_qkv=True),
    mLSTMCoreConfig(use_axon_layer=True, use_axon_qkv=True),
    sLSTMCoreConfig(use_axon_layer=True),
    LSTMCoreConfig(num_layers=2, proj_size=5),
    CausalConv1dCoreConfig(kernel_size=3, channel_mixing=True),
)
SCAFFOLDS = (
    *(kind(core=sLSTMCoreConfig()) for kind in BUILT_IN_SCAFFOLDS if "core" in kind.model_fields),
    PassThroughScaffoldConfig(core=LSTMCoreConfig(), residual=False),
    AdapterScaffoldConfig(scaffold=XLCellConfig(core=XLCoreConfig(mem_len=3)), bottleneck=5),
    ColumnScaffoldConfig(experts=(AxonCellConfig(), LSTMCellConfig())),
    PreUpScaffoldConfig(core=CortexStackConfig(scaffolds=(LSTMCellConfig(), CausalConv1dCellConfig()))),
)
CELLS = (
    AxonCellConfig(),
    XLCellConfig(core=XLCoreConfig(mem_len=3)),
    mLSTMCellConfig(),
    sLSTMCellConfig(),
    LSTMCellConfig(),
    CausalConv1dCellConfig(),
    AGaLiTeCellConfig(core=AGaLiTeCoreConfig(n_heads=4)),
    CellConfig(scaffold=PostUpScaffoldConfig(proj_factor=2.0), core=AxonCoreConfig()),
)
EVERY = [pytest.param(c, id=f"{i}-{type(c).__name__}") for i, c in enumerate((*CORES, *SCAFFOLDS, *CELLS))]


def alone(config: Node, backend: str, dtype: torch.dtype = torch.float64) -> CompiledStack:
    """The part with its parameters off their start."""
    torch.manual_seed(1)
    part = cortexc.compile(config, d_hidden=WIDTH, backend=backend, dtype=dtype, device=DEVICE)
    with torch.no_grad():
        for p in part.parameters():
            p.add_(0.1 * torch.randn(p.shape, dtype=torch.float64).to(p))
    return part


@pytest.mark.parametrize("config", EVERY)
def test_every_part_keeps_the_contract(config: Node) -> None:
    """C1-C7, S1-S7, E1-E7, E9: each core, scaffold and cell by itself: one function however cut, steps included, with
    resets; gradients; NaN before a reset; the report. Against the reference of the same part."""
    part, oracle = alone(config, "eager"), alone(config, "reference")
    oracle.load_state_dict(part.state_dict())
    x, m = inputs(STEPS, torch.float64), mask("random", STEPS)
    with torch.no_grad():
        expected, wanted = oracle(x, resets=m)
        for cut in ("whole", "random", "steps"):
            y, state = run(part, x, m, pieces(cut, STEPS), by_step=cut == "steps")
            assert_close(y, expected, what=cut)
            for path, leaf in leaves(state).items():
                assert_close(leaf, leaves(wanted)[path], what=f"{cut}: {path}")
    assert leaves(part.init_state(ROWS)).keys() == leaves(wanted).keys()
    check_gradients(part, oracle, STEPS, torch.float64)
    dirty = x.clone()
    dirty[0, 4] = float("nan")
    cut_off = torch.zeros(ROWS, STEPS, dtype=torch.bool, device=DEVICE)
    cut_off[0, 6] = True
    y, clean = part(dirty, resets=cut_off)[0], part(x, resets=cut_off)[0]
    assert torch.isnan(y[0, 4]).any()
    assert_close(y[0, 6:], clean[0, 6:])
    assert part.summary().total_params == sum(p.numel() for p in part.parameters())


@pytest.mark.parametrize("config", EVERY)
def test_every_part_is_the_one_inside_a_stack(config: Node) -> None:
    """The same numbers, the same names under the layer's path, the same state under its name."""
    is_core = config.family == "core"
    layer = PassThroughScaffoldConfig(core=config, residual=False) if is_core else config
    part = alone(config, "eager")
    spec = CortexStackConfig(d_hidden=WIDTH, scaffolds=(layer,), post_norm=False)
    stack = cortexc.compile(spec, backend="eager", dtype=torch.float64, device=DEVICE)
    prefix = "layers.0.core." if is_core else "layers.0."
    assert list(stack.state_dict()) == [prefix + name for name in part.state_dict()]
    stack.load_state_dict({prefix + name: value for name, value in part.state_dict().items()})
    x, m = inputs(STEPS, torch.float64), mask("random", STEPS)
    (y, state), (expected, wanted) = part(x, resets=m), stack(x, resets=m)
    assert_close(y, expected)
    depth = 2 if is_core else 1
    inside = {path.split("/", depth)[-1]: leaf for path, leaf in leaves(wanted).items()}
    assert inside.keys() == leaves(state).keys()
    for path, leaf in leaves(state).items():
        assert_close(leaf, inside[path], what=path)

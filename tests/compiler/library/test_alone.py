"""Any part compiles by itself, to a module with the same contract."""

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
    AxonCoreConfig,
    LSTMCoreConfig,
    PostUpScaffoldConfig,
    TissueConfig,
    XLCellConfig,
    mLSTMCoreConfig,
)
from cortexc.runtime import CompiledStack, CortexStateError

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

"""The modules of earlier versions: configs, cells, stacks."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
import torch

import cortexc
from cortexc import cells, config, stacks

CELLS = {
    "AxonCellConfig": ("PostUpGatedScaffoldConfig", "AxonCoreConfig"),
    "XLCellConfig": ("PostUpGatedScaffoldConfig", "XLCoreConfig"),
    "mLSTMCellConfig": ("PreUpGatedScaffoldConfig", "mLSTMCoreConfig"),
    "sLSTMCellConfig": ("PostUpGatedScaffoldConfig", "sLSTMCoreConfig"),
    "LSTMCellConfig": ("PassThroughScaffoldConfig", "LSTMCoreConfig"),
    "CausalConv1dCellConfig": ("PassThroughScaffoldConfig", "CausalConv1dCoreConfig"),
    "AGaLiTeCellConfig": ("PostUpGatedScaffoldConfig", "AGaLiTeCoreConfig"),
}
OLD = {
    "MemoryCell": "MemoryCore",
    "BaseBlock": "BaseScaffold",
    "register_cell": "register_core",
    "register_block": "register_scaffold",
    "LSTMCell": "LSTMCore",
    "mLSTMCell": "mLSTMCore",
    "PreUpBlock": "PreUpScaffold",
    "PreUpBlockConfig": "PreUpScaffoldConfig",
    "PostUpGatedBlockConfig": "PostUpGatedScaffoldConfig",
    "AdapterBlockConfig": "AdapterScaffoldConfig",
    "ColumnBlockConfig": "ColumnScaffoldConfig",
    "AxonConfig": "AxonCoreConfig",
    "CausalConv1dConfig": "CausalConv1dCoreConfig",
    "BlockConfig": "ScaffoldConfig",
    "CortexStack": "build_cortex",
}


@pytest.mark.parametrize(("name", "parts"), CELLS.items(), ids=CELLS)
def test_cells(name: str, parts: tuple[str, str]) -> None:
    """E1 E2 E3 E4 E5 E6 E7: each cell pairs the scaffold and the core of the table."""
    cell = getattr(cells, name)()
    assert (type(cell.scaffold).__name__, type(cell.core).__name__) == parts
    assert type(cell.core) is getattr(config, parts[1])
    assert type(cell.scaffold) is getattr(config, parts[0])


def test_every_config_is_there() -> None:
    """P3 S10: the names of the seeds' `config` and `cells`, and no name that does not load."""
    for module in (config, cells, stacks, cortexc):
        for name in module.__all__:
            assert getattr(module, name) is not None
    kinds = ("PassThrough", "PreUp", "PreUpGated", "PostUp", "PostUpGated", "Adapter", "Column")
    assert all(hasattr(config, f"{k}ScaffoldConfig") for k in kinds)
    assert [type(c).__name__ for c in cells.default_cells()] == list(CELLS)[:4]


@pytest.mark.parametrize(("old", "new"), OLD.items(), ids=OLD)
def test_old_names_give_the_new(old: str, new: str) -> None:
    """P5 S10: an old name is an error that says what it is called now, wherever it is looked for."""
    for module in (cortexc, config, cells, stacks):
        with pytest.raises(AttributeError, match=f"now called `{new}`"):
            getattr(module, old)
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        _ = config.nothing


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("blocks", "scaffolds"),
        ("blocks.column.column", "scaffolds"),
        ("blocks.column.auto", "scaffolds"),
        ("cells.base", "cores.base"),
        ("cells.core", "cores.core"),
        ("cells.core.axon_layer", "cores.core"),
        ("stacks.auto", "stacks"),
        ("stacks.base", "stacks"),
    ],
)
def test_old_modules_give_the_new(old: str, new: str) -> None:
    """P4: importing a module of an earlier version is an error that says where it is now, and that one is there."""
    with pytest.raises(ModuleNotFoundError, match=rf"is now `cortexc\.{re.escape(new)}`"):
        importlib.import_module(f"cortexc.{old}")
    importlib.import_module(f"cortexc.{new}")


def test_old_modules_by_name() -> None:
    """P4: the same from the package, and for what is left of their paths."""
    with pytest.raises(ModuleNotFoundError, match=r"`blocks\.column\.column` there `scaffolds\.column`"):
        from cortexc import blocks  # noqa: F401
    with pytest.raises(AttributeError, match="now called `scaffolds`"):
        _ = cortexc.blocks
    assert importlib.import_module("cortexc.scaffolds.column").ColumnScaffold.__name__ == "ColumnScaffold"
    assert importlib.import_module("cortexc.scaffolds.column.auto").build_column_auto_config
    assert importlib.import_module("cortexc.cores.core.axon_layer").AxonLayer
    for kept in ("registry", "tokens"):
        assert importlib.import_module(f"cortexc.{kept}").register_token
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module("cortexc.cells.nothing")


def test_old_core_configs() -> None:
    """E8: `mLSTMCellConfig` was a core; where a core is wanted, the error names the core's class of today."""
    with pytest.raises(AttributeError, match=r"`mLSTMCoreConfig`.*cortexc\.cells\.mLSTMCellConfig"):
        _ = config.mLSTMCellConfig
    with pytest.raises(ValueError, match=r"option of its core: `LSTMCellConfig\(core=LSTMCoreConfig\(num_layers"):
        cells.LSTMCellConfig(num_layers=2)
    with pytest.raises(ValueError, match="give it the core: `mLSTMCoreConfig"):
        config.PreUpScaffoldConfig(core=cells.mLSTMCellConfig())
    with pytest.raises(ValueError, match="now called `core`"):
        config.PreUpScaffoldConfig(cell=config.LSTMCoreConfig())
    with pytest.raises(ValueError, match="now called `scaffolds`"):
        config.CortexStackConfig(blocks=[])


def test_build_cortex() -> None:
    """B1 B2 S8 S9: a manual stack runs; every size follows from `d_hidden`."""
    cfg = config.CortexStackConfig(
        d_hidden=16,
        scaffolds=[
            config.PreUpScaffoldConfig(core=config.LSTMCoreConfig(hidden_size=999)),
            config.PostUpScaffoldConfig(core=config.XLCoreConfig(hidden_size=None, mem_len=4), proj_factor=2.0),
        ],
        post_norm=True,
    )
    stack = stacks.build_cortex(cfg)
    y, state = stack(torch.randn(2, 3, 16), None)
    assert y.shape == (2, 3, 16)
    assert state is not None
    with pytest.raises(TypeError, match="expected a CortexStackConfig, got str"):
        stacks.build_cortex("AXMS")
    with pytest.raises(cortexc.CortexSpecError, match="E502"):
        stacks.build_cortex(cfg.model_copy(update={"d_hidden": 15}))


def test_auto_stack() -> None:
    """B3 B4 B5 K12: the builder of every version gives the module that the text gives."""
    made = stacks.build_cortex_auto_stack(d_hidden=16, num_layers=2, pattern="AM", post_norm=False)
    text = cortexc.compile("AM x2 with post_norm=false", d_hidden=16)
    assert {n: p.shape for n, p in made.named_parameters()} == {n: p.shape for n, p in text.named_parameters()}
    y, _ = made(torch.randn(2, 3, 16))
    assert y.shape == (2, 3, 16)
    chain = stacks.build_cortex_auto_stack(16, block_pattern="SA")
    assert len(chain.spec.scaffolds) == 2
    with pytest.raises(TypeError, match="compile_scaffolds"):
        stacks.build_cortex_auto_stack(16, compile_blocks=True)
    with pytest.raises(TypeError, match="unexpected keyword"):
        stacks.build_cortex_auto_stack(16, nothing=True)


def test_layers_and_column() -> None:
    """E9 E11 E12 R1 R6: a preset function, raw scaffolds as cells, a column in a manual stack."""

    def long_memory() -> cells.CellConfig:
        scaffold, core = config.PostUpScaffoldConfig(proj_factor=2.0), config.XLCoreConfig(mem_len=8, use_axon_qkv=True)
        return cells.CellConfig(scaffold=scaffold, core=core)

    raw = config.PassThroughScaffoldConfig(core=config.LSTMCoreConfig())
    auto = stacks.build_cortex_auto_config(d_hidden=16, layers=[[long_memory(), raw]])
    column = stacks.build_column_auto_config(d_hidden=16, cells=[long_memory(), raw])
    manual = config.CortexStackConfig(d_hidden=16, scaffolds=[column])
    assert auto == manual == cortexc.parse("X^(mem_len=8)@postup(2.0) L with d_hidden=16")
    assert stacks.build_cortex(manual)(torch.randn(1, 2, 16))[0].shape == (1, 2, 16)


def test_configs_need_no_torch() -> None:
    """P3: configs and builders of configs load without torch."""
    code = (
        "import sys, cortexc\n"
        "from cortexc.cells import default_cells\n"
        "from cortexc.config import CortexStackConfig\n"
        "from cortexc.stacks import build_cortex, build_cortex_auto_config\n"
        "cortexc.build_column_auto_config(64, cells=default_cells()); build_cortex_auto_config(64); cortexc.cells\n"
        "try: build_cortex(CortexStackConfig(d_hidden=0 + 3, scaffolds=[]))\n"
        "except cortexc.CortexSpecError: pass\n"
        "print([m for m in ('torch', 'tensordict', 'triton') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"

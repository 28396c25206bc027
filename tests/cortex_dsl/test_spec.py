"""The configs: frozen, strict, JSON both ways, open to users."""

from __future__ import annotations

import copy
import pickle

import pytest
from pydantic import ValidationError

from cortexc.cortex_dsl import (
    AGaLiTeCellConfig,
    AxonCellConfig,
    CausalConv1dCellConfig,
    CellConfig,
    ColumnScaffoldConfig,
    CoreConfig,
    CortexStackConfig,
    LSTMCellConfig,
    LSTMCoreConfig,
    PostUpScaffoldConfig,
    PreUpScaffoldConfig,
    ScaffoldConfig,
    TissueConfig,
    TissueFamilyConfig,
    XLCellConfig,
    XLCoreConfig,
    default_cells,
    format_spec,
    mLSTMCellConfig,
    mLSTMCoreConfig,
    parse,
    resolve,
    sLSTMCellConfig,
    token_of,
)


class GRUCoreConfig(CoreConfig):
    num_layers: int = 1


class GatedResidualScaffoldConfig(ScaffoldConfig):
    gate_bias: float = 0.0


@pytest.mark.parametrize(
    ("cell", "token"),
    [
        (AxonCellConfig(), "A"),
        (XLCellConfig(), "X"),
        (mLSTMCellConfig(), "M"),
        (sLSTMCellConfig(), "S"),
        (LSTMCellConfig(), "L"),
        (CausalConv1dCellConfig(), "C"),
        (AGaLiTeCellConfig(), "Ag"),
    ],
)
def test_cells_are_tokens(cell: CellConfig, token: str) -> None:
    """E1-E7: a cell lowers to the scaffold that its token stands for."""
    assert parse(token).scaffolds[0].experts == (cell.to_scaffold(),)
    assert token_of(cell.to_scaffold()) == token


def test_cell_overrides() -> None:
    """E8 E9 E10: another core, another scaffold, the default four."""
    spec = CortexStackConfig(scaffolds=[ColumnScaffoldConfig(experts=[XLCellConfig(core=XLCoreConfig(mem_len=256))])])
    assert spec == parse("X(mem_len=256)")
    cell = CellConfig(scaffold=PostUpScaffoldConfig(proj_factor=2.0), core=XLCoreConfig(mem_len=128))
    assert cell.to_scaffold() == PostUpScaffoldConfig(core=XLCoreConfig(mem_len=128), proj_factor=2.0)
    assert ColumnScaffoldConfig(experts=default_cells()) == parse("AXMS").scaffolds[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: XLCoreConfig(mem_length=7), "did you mean `mem_len`"),
        (lambda: PreUpScaffoldConfig(cell=LSTMCoreConfig()), "now called `core`"),
        (lambda: CortexStackConfig(blocks=[]), "now called `scaffolds`"),
        (lambda: XLCoreConfig(n_heads=0), "greater than or equal to 1"),
        (lambda: XLCoreConfig(n_heads=True), "valid integer"),
        (lambda: PreUpScaffoldConfig(core=PreUpScaffoldConfig()), "expected a core or stack config"),
        (lambda: PreUpScaffoldConfig(core={"kind": "xxl"}), "did you mean `xl`"),
        (lambda: CortexStackConfig(scaffolds=[LSTMCellConfig()], cuts=(1,)), "not between"),
        (
            lambda: TissueConfig(width=2, height=2, cell_mix={"a": 1.0}, families={"b": TissueFamilyConfig()}),
            "not in families",
        ),
    ],
)
def test_bad_configs(make: object, message: str) -> None:
    """E8: a typo or a wrong value is an error that helps."""
    with pytest.raises(ValueError, match=message):
        make()


def test_frozen() -> None:
    """B1: a config never changes."""
    core = XLCoreConfig()
    with pytest.raises(ValidationError, match="frozen"):
        core.mem_len = 3
    tissue = TissueConfig(width=2, height=2)
    with pytest.raises(TypeError, match="frozen"):
        tissue.cell_mix["slstm"] = 0.0
    assert pickle.loads(pickle.dumps(tissue)) == tissue == copy.deepcopy(tissue)
    assert hash(tissue) == hash(copy.deepcopy(tissue))


def test_user_parts_work_everywhere() -> None:
    """Z1 Z2 Z3: a user's core and scaffold in configs, text and JSON."""
    expert = GatedResidualScaffoldConfig(core=GRUCoreConfig(num_layers=2), gate_bias=1.0)
    spec = CortexStackConfig(scaffolds=[ColumnScaffoldConfig(experts=[expert])])
    assert expert.kind == "GatedResidualScaffoldConfig"
    assert CortexStackConfig.model_validate_json(spec.model_dump_json()) == spec
    text = format_spec(spec)
    assert text == "GRUCoreConfig(num_layers=2)@GatedResidualScaffoldConfig(gate_bias=1.0)"
    assert parse(text) == spec
    assert resolve(spec, 32).scaffolds[0].experts[0].core.hidden_size == 32


def test_built_in_kinds_stay() -> None:
    """Z3: a user's config cannot take a built-in's kind."""
    from typing import Literal

    with pytest.raises(ValueError, match="belongs to the built-in"):
        type("Mine", (CoreConfig,), {"kind": "xl", "__annotations__": {"kind": Literal["xl"]}, "__module__": __name__})


def test_marks_survive_copies() -> None:
    """U14: equal configs from text and from code are equal, and JSON has no places."""
    written = parse("M(num_heads=8)").scaffolds[0].experts[0]
    assert written == mLSTMCellConfig(core=mLSTMCoreConfig(num_heads=8)).to_scaffold()
    assert token_of(written.model_copy()) == "M"

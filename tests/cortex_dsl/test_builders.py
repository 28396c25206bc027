"""The builders of all generations give the specs that text gives."""

from __future__ import annotations

import pytest

from cortexc.cortex_dsl import (
    AxonCoreConfig,
    CellConfig,
    CortexStackConfig,
    PostUpGatedScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpScaffoldConfig,
    RoutedAdapterConfig,
    RouterConfig,
    XLCellConfig,
    XLCoreConfig,
    apply_overrides,
    build_column_auto_config,
    build_cortex_auto_config,
    default_cells,
    expand,
    mLSTMCoreConfig,
    parse,
    sLSTMCoreConfig,
)
from cortexc.cortex_dsl import build_cortex_auto_config as build


def test_three_doors() -> None:
    """B1 B3 B4 B6 K16: text, configs and builders give one spec."""
    text = parse("AXMS x4", d_hidden=256)
    column = build_column_auto_config(d_hidden=256, cells=default_cells())
    assert text == build_cortex_auto_config(d_hidden=256, num_layers=4, pattern="AXMS")
    assert text == build_cortex_auto_config(d_hidden=256, layers=[default_cells()] * 4)
    assert text == build_cortex_auto_config(d_hidden=256, num_layers=4)
    assert text == CortexStackConfig(d_hidden=256, scaffolds=[column] * 4)


def test_layers_argument() -> None:
    """B3 E11 E12: lists of cells or scaffolds; `num_layers` may be omitted and must not disagree."""
    cell = CellConfig(scaffold=PostUpScaffoldConfig(proj_factor=2.0), core=XLCoreConfig(mem_len=512))
    spec = build(d_hidden=256, layers=[[cell], [PostUpScaffoldConfig(core=AxonCoreConfig())]])
    assert spec == parse("X(mem_len=512)@postup(2.0) / A@postup with d_hidden=256")
    with pytest.raises(ValueError, match="num_layers=3"):
        build(d_hidden=256, num_layers=3, layers=[[cell]] * 2)
    with pytest.raises(TypeError, match="not 2"):
        build(layers=[[cell]], pattern="A")


def test_pattern_argument() -> None:
    """B4 K10 K15: one pattern or a list, with a custom map."""
    custom = {"Q": PreUpScaffoldConfig(core=mLSTMCoreConfig())}
    assert build(64, pattern=["AXMS", "M^"]) == parse("AXMS / M^", d_hidden=64)
    assert build(64, 3, "Q", custom_map=custom) == parse("M@preup x3", d_hidden=64)
    assert build(64, pattern="AXMS", post_norm=False) == parse("AXMS with post_norm=false", d_hidden=64)


def test_block_pattern_is_depth() -> None:
    """B5 K12: V1's letters are layers; three by default."""
    assert build(128, block_pattern="SAM") == parse("S / A / M", d_hidden=128)
    own = {
        "axon_preup": PreUpScaffoldConfig(core=AxonCoreConfig()),
        "mlstm_preup": PreUpScaffoldConfig(core=mLSTMCoreConfig()),
        "slstm_postup": PostUpScaffoldConfig(core=sLSTMCoreConfig()),
    }
    assert build(128, **own) == parse("A@preup / M@preup / S@postup", d_hidden=128)


def test_use_axonlayers() -> None:
    """B7: the flags of M and S."""
    assert build(64, pattern="AXMS", use_axonlayers=True) == parse("AXM^S^", d_hidden=64)


def test_overrides() -> None:
    """B8: by type, explicit fields only, every match, at any depth; `X^` keeps its flag."""
    spec = build(64, 2, "X^X", override_global_configs=[XLCoreConfig(mem_len=64)])
    assert spec == parse("X^(mem_len=64) X(mem_len=64) x2", d_hidden=64)
    deep = parse("preup(stack(column(X, column(X))))@adapter")
    assert apply_overrides(deep, [XLCoreConfig(mem_len=9)]) == parse(
        "preup(stack(column(X(mem_len=9), column(X(mem_len=9)))))@adapter"
    )
    assert apply_overrides(parse("AX"), [RouterConfig(d_key=8)]) == parse("AX{d_key=8}")
    changed = apply_overrides(parse("AM"), [PostUpGatedScaffoldConfig(proj_factor=3.0)])
    assert [e.proj_factor for e in changed.scaffolds[0].experts] == [3.0, 2.0]


def test_override_limits() -> None:
    """B9: `hidden_size` is never overridden; the spec given is untouched."""
    spec = parse("X")
    assert apply_overrides(spec, [XLCoreConfig(hidden_size=7)]) == spec
    assert apply_overrides(spec, None) is spec
    with pytest.raises(TypeError, match="override the core"):
        apply_overrides(spec, [XLCellConfig()])


def test_router_and_adapter() -> None:
    """R1 R6 A1 B3: a router for all columns, a routed adapter for the stack."""
    router = RouterConfig(top_k=2)
    spec = build(64, 2, "AXM", router=router, routed_adapter=RoutedAdapterConfig(num_slots=8, rank=2))
    assert spec == parse("AXM{top_k=2} x2 with d_hidden=64 adapter_num_slots=8 adapter_rank=2")
    assert build_column_auto_config(64, pattern="AX", router=router) == parse("AX{top_k=2}").scaffolds[0]
    with pytest.raises(ValueError, match="one layer"):
        build_column_auto_config(64, pattern="A / X")


def test_expand_names_origins() -> None:
    """B8: every value and where it came from."""
    spec = apply_overrides(parse("set XLCore.mem_len = 3\nX^(n_heads=2)"), [RouterConfig(d_key=8)])
    found = {e.path.rsplit(".", 1)[-1]: e.origin for e in expand(spec, 64)}
    assert found["n_heads"] == "option at 2:4"
    assert found["mem_len"] == "set at 1:1"
    assert found["use_axon_qkv"] == "token X^"
    assert found["head_dim"] == "inferred"
    assert found["d_key"] == "override"
    assert found["use_bias"] == "default"


def test_expand_tells_text_from_python() -> None:
    """B8: what a text says has its place; what Python said is `config`; neither is taken for the other."""
    text = (
        "let Q = preup(mlstm(num_heads=8), proj_factor=1.5)\nset XLCore.mem_len = 64\n"
        "AX^Q{top_k=2, alpha_init=0.5} | M@adapter(bottleneck=8) / tissue 4x4 {slstm: 1} r=2 "
        "with d_hidden=64 adapter_rank=2"
    )
    entries = expand(parse(text))
    assert not [e for e in entries if e.origin == "config"]
    found = {e.path: e.origin for e in entries}
    assert found["scaffolds[0].experts[2].proj_factor"] == "option at 1:35"
    assert found["scaffolds[2].tissue.radius"] == "option at 3:81"
    assert found["scaffolds[2].tissue.width"].startswith("tissue at 3:")
    assert found["cuts"] == "`|` in the pattern"
    made = CortexStackConfig(d_hidden=64, scaffolds=[PostUpScaffoldConfig(core=XLCoreConfig(mem_len=3))])
    origins = {e.path: e.origin for e in expand(made)}
    assert origins["scaffolds[0].core.mem_len"] == origins["d_hidden"] == "config"
    assert origins["scaffolds[0].proj_factor"] == "default"

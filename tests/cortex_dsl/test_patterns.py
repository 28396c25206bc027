"""What patterns mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cortexc.cortex_dsl import (
    AdapterScaffoldConfig,
    AGaLiTeCoreConfig,
    AxonCoreConfig,
    CausalConv1dCoreConfig,
    ColumnScaffoldConfig,
    CortexStackConfig,
    CortexSyntaxError,
    CortexWarning,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    PostUpGatedScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpGatedScaffoldConfig,
    PreUpScaffoldConfig,
    Registry,
    RouterConfig,
    TissueScaffoldConfig,
    XLCoreConfig,
    default_registry,
    mLSTMCoreConfig,
    parse,
    parse_ast,
    register_token,
    sLSTMCoreConfig,
    span_of,
    tokens,
)

from .support import pairs, quiet, shape

CUSTOM = {
    "Y": PostUpGatedScaffoldConfig(core=XLCoreConfig(mem_len=64)),
    "Q": PreUpScaffoldConfig(core=mLSTMCoreConfig()),
}


@pytest.mark.parametrize(("pattern", "expected"), pairs("seed_patterns.txt"))
def test_seed_patterns(pattern: str, expected: str) -> None:
    """K9 K10 K11 K15 K16: every seed pattern, verbatim."""
    assert shape(parse(pattern, custom_map=CUSTOM)) == expected


@pytest.mark.parametrize(
    ("token", "scaffold", "core"),
    [
        ("A", PostUpGatedScaffoldConfig, AxonCoreConfig()),
        ("X", PostUpGatedScaffoldConfig, XLCoreConfig()),
        ("X^", PostUpGatedScaffoldConfig, XLCoreConfig(use_axon_qkv=True)),
        ("M", PreUpGatedScaffoldConfig, mLSTMCoreConfig()),
        ("M^", PreUpGatedScaffoldConfig, mLSTMCoreConfig(use_axon_layer=True, use_axon_qkv=True)),
        ("S", PostUpGatedScaffoldConfig, sLSTMCoreConfig()),
        ("S^", PostUpGatedScaffoldConfig, sLSTMCoreConfig(use_axon_layer=True)),
        ("Ag", PostUpGatedScaffoldConfig, AGaLiTeCoreConfig()),
        ("L", PassThroughScaffoldConfig, LSTMCoreConfig()),
        ("C", PassThroughScaffoldConfig, CausalConv1dCoreConfig()),
    ],
)
def test_built_in_tokens(token: str, scaffold: type, core: object) -> None:
    """K1-K7: each token is its scaffold with its core."""
    column = parse(token).scaffolds[0]
    assert column == ColumnScaffoldConfig(experts=(scaffold(core=core),))
    assert token in [info.name for info in tokens()]


def test_caret_binds_to_last_token() -> None:
    """K8 K9: the caret of `AXMS^` is S's."""
    x, s = parse("AXMS^").scaffolds[0].experts[1::2]
    assert not x.core.use_axon_qkv
    assert s.core.use_axon_layer


def test_caret_on_custom_base() -> None:
    """K8 K15: `X^` axonifies the X of a custom map and keeps its options."""
    custom = {"X": PostUpGatedScaffoldConfig(core=XLCoreConfig(mem_len=32))}
    core = parse("X^", custom_map=custom).scaffolds[0].experts[0].core
    assert core == XLCoreConfig(mem_len=32, use_axon_qkv=True)


def test_caret_without_variant_warns() -> None:
    """K8: `A^` is A, and says so."""
    with pytest.warns(CortexWarning, match="W701"):
        assert parse("A^") == parse("A")
    with pytest.raises(CortexSyntaxError, match="W701"):
        parse("A^", warnings="error")


@pytest.fixture
def clean_registry() -> Iterator[Registry]:
    yield default_registry()
    for info in tokens():
        default_registry().remove(info.name)


def test_register_token(clean_registry: Registry) -> None:
    """K13 K14: a decorator registers a builder; `Y^` by its exact string."""

    @register_token("Y")
    def build_y() -> PostUpGatedScaffoldConfig:
        return PostUpGatedScaffoldConfig(core=XLCoreConfig(mem_len=7))

    @register_token("Y^")
    def build_y_axon() -> PostUpGatedScaffoldConfig:
        return PostUpGatedScaffoldConfig(core=XLCoreConfig(mem_len=8, use_axon_qkv=True))

    experts = parse("AY^Y").scaffolds[0].experts
    assert [getattr(e.core, "mem_len", None) for e in experts] == [None, 8, 7]
    assert build_y().core.mem_len == 7
    assert build_y_axon().core.mem_len == 8


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("AX", "read as"),
        ("g", "read as"),
        ("x2", "repeat"),
        ("let", "word of"),
        ("mlstm", "core or scaffold"),
        ("A-B", "letters"),
        ("M^S", "end"),
    ],
)
def test_ambiguous_names_are_refused(name: str, why: str) -> None:
    """K13: a name that would spoil a known pattern is refused when registered."""
    registry = default_registry().extended(None)
    with pytest.raises(ValueError, match=why):
        registry.add(name, XLCoreConfig())


def test_copies_and_options() -> None:
    """K9: `S*2` is two experts; options belong to the last token of a run."""
    experts = parse("AX(mem_len=64)S*2").scaffolds[0].experts
    assert shape(parse("AX(mem_len=64)S*2")) == "A X S S"
    assert experts[1].core.mem_len == 64


def test_wraps() -> None:
    """S2 S4 S6: `@scaffold` replaces the scaffold, an adapter wraps."""
    a, m = parse("A@preup(3.0) M^@postup@adapter(bottleneck=32)").scaffolds[0].experts
    assert a == PreUpScaffoldConfig(core=AxonCoreConfig(), proj_factor=3.0)
    core = mLSTMCoreConfig(use_axon_layer=True, use_axon_qkv=True)
    assert m == AdapterScaffoldConfig(scaffold=PostUpScaffoldConfig(core=core), bottleneck=32)


def test_constructor_form() -> None:
    """E9: `preup(mlstm(num_heads=8), proj_factor=1.5)` is the explicit cell."""
    expert = parse("preup(mlstm(num_heads=8), proj_factor=1.5)").scaffolds[0].experts[0]
    assert expert == PreUpScaffoldConfig(core=mLSTMCoreConfig(num_heads=8), proj_factor=1.5)


def test_router_options() -> None:
    """R2: `{top_k=2}` goes to the router of its column."""
    column = parse("AXMS{top_k=2, temperature=0.7, d_key=128}").scaffolds[0]
    assert column.router == RouterConfig(top_k=2, temperature=0.7, d_key=128)


def test_nested_columns_and_stacks() -> None:
    """R7 U13: a column as expert, a stack as core."""
    outer = parse("A column(X, S, top_k=1)").scaffolds[0]
    assert outer.experts[1] == ColumnScaffoldConfig(
        experts=parse("XS").scaffolds[0].experts, router=RouterConfig(top_k=1)
    )
    core = parse("passthrough(stack(AX, M, post_norm=false))").scaffolds[0].experts[0].core
    assert core == CortexStackConfig(scaffolds=parse("AX / M").scaffolds, post_norm=False)


def test_groups_cuts_and_new_lines() -> None:
    """K16: groups, cuts and new lines give depth."""
    assert shape(parse("(A / X)x2 M")) == "A / X / A / X / M"
    assert parse("A x2 | X / (S | M) x2").cuts == (2, 4, 6)
    assert parse("AX\n\nM # two\nS /\n  L") == parse("AX / M / S / L")
    assert len(parse("(M x7 / S) x6").scaffolds) == 48


def test_stack_options() -> None:
    """B1 A1: `with` sets what belongs to the stack."""
    spec = parse("A with d_hidden=64 post_norm=false adapter_rank=8")
    assert (spec.d_hidden, spec.post_norm, spec.routed_adapter.rank) == (64, False, 8)
    assert parse("A", d_hidden=32).d_hidden == 32
    assert spec == parse("A with d_hidden=64 post_norm=false adapter_rank=8", d_hidden=32)


def test_num_layers() -> None:
    """K10: a single plain column is repeated; anything else must agree."""
    assert parse("XXS", num_layers=4) == parse("XXS x4")
    assert parse("A / X", num_layers=2) == parse("A / X")
    with pytest.raises(CortexSyntaxError, match="E307"):
        parse("A / X", num_layers=3)


def test_tissue_layer() -> None:
    """T2 T4: a tissue is a layer of its own."""
    layer = parse("A / tissue 32x16 {slstm: 0.7, axon: 0.3} r=2 h=8 k=3 mode=diffusion / M").scaffolds[1]
    assert isinstance(layer, TissueScaffoldConfig)
    tissue = layer.tissue
    assert (tissue.width, tissue.height, tissue.depth, tissue.radius) == (32, 16, None, 2)
    assert (tissue.hidden_size, tissue.default_k, layer.mode) == (8, 3, "diffusion")
    assert {n: f.family_type for n, f in tissue.families.items()} == {"slstm": "slstm", "axon": "axoncell"}


FILE = """
# demo.cortex
let Q = preup(mlstm(num_heads=8), proj_factor=1.5)
let Long = X(mem_len=512)@postup(2.0)
tissue T = 32x32 {slstm: 0.7, axon: 0.3} r=1
stack trunk = (AXMS / M^) x2
set XLCore.mem_len = 64
(AXMS)x2 Q
trunk / A Q^ Long / T
"""


def test_file_form() -> None:
    """K15 E11: definitions, stacks, tissues and `set` in one file."""
    spec = parse(FILE)
    assert shape(spec) == "A X M S / A X M S / Q / A X M S / M^ / A X M S / M^ / A Q^ Long / TissueScaffoldConfig"
    assert spec.scaffolds[0].experts[1].core.mem_len == 64
    assert spec.scaffolds[7].experts[2].core.mem_len == 512, "an option outweighs `set`"
    assert spec.scaffolds[7].experts[1].core.use_axon_qkv


def test_include(tmp_path: object) -> None:
    """K15: an included file brings definitions; circles and layers in it are errors."""
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "defs.cortex").write_text("let Q = M(num_heads=2)\n")
    (folder / "circle.cortex").write_text('include "circle.cortex"\n')
    (folder / "layers.cortex").write_text("AX\n")
    main = str(folder / "main.cortex")
    assert shape(parse('include "defs.cortex"\nAQ', source=main)) == "A Q"
    with pytest.raises(CortexSyntaxError, match="E402"):
        parse('include "circle.cortex"\nA', source=main)
    with pytest.raises(CortexSyntaxError, match="E403"):
        parse('include "layers.cortex"\nA', source=main)
    with pytest.raises(CortexSyntaxError, match="switched off"):
        parse('include "defs.cortex"\nA', source=main, allow_include=False)


def test_import_needs_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: object, clean_registry: Registry) -> None:
    """K14: `import` runs a module that registers tokens, only when allowed."""
    from pathlib import Path

    name = "cortexc_test_tokens_module"
    code = "from cortexc.cortex_dsl import *\nregister_token('Zed')(lambda: XLCoreConfig(mem_len=3))\n"
    (Path(str(tmp_path)) / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CortexSyntaxError, match="E404"):
        parse(f"import {name}\nA")
    assert shape(parse(f"import {name}\nA Zed", allow_import=True)) == "A Zed"
    with pytest.raises(CortexSyntaxError, match="E405"):
        parse("import cortexc_no_such_module\nA", allow_import=True)


def test_spans_point_at_tokens() -> None:
    """U14: each expert knows its place; places take no part in equality and survive copies."""
    spec = parse("AX(mem_len=64)\nM^")
    a, x = spec.scaffolds[0].experts
    m = spec.scaffolds[1].experts[0]
    assert [str(span_of(e)) for e in (a, x, m)] == ["1:1", "1:2", "2:1"]
    assert span_of(x).text == "X(mem_len=64)"
    assert a == parse("/".join("LA")).scaffolds[1].experts[0]
    assert span_of(x.model_copy()) == span_of(x)
    assert "span" not in repr(spec) + spec.model_dump_json()


def test_ast_prints() -> None:
    """The tree prints with places, and does not know about names."""
    tree = parse_ast("Foo x2 / A(b=1)")
    assert tree.pretty().splitlines()[3:5] == ["      items[0]: Repeat(count=2) @1:1", "        item: Column() @1:1"]
    assert parse_ast("A /  X") == parse_ast("A / X")


def test_quiet_commas() -> None:
    """K11: a comma says one column."""
    assert parse("AXMS, AM^S") == quiet("A X M S A M^ S")

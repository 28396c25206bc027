"""Named stacks, each of them tested."""

from __future__ import annotations

import pytest

from cortexc.cortex_dsl import (
    RECIPES,
    CortexSyntaxError,
    build_cortex_auto_config,
    format_spec,
    format_text,
    parse,
    recipes,
    resolve,
)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_recipe_is_sound(recipe: object) -> None:
    """K9 K16: each recipe parses without a warning, resolves at common widths, and prints back to itself."""
    spec = parse(recipe.pattern, warnings="error")
    assert parse(f"recipe:{recipe.name}") == spec
    for width in (64, 256, 1024):
        assert resolve(spec, width).d_hidden == width
    assert parse(format_spec(spec)) == spec
    assert recipe.about
    assert recipe.name == recipe.name.lower()


def test_depth_of_the_papers() -> None:
    """xLSTM[7:1] has 48 layers, one in eight an sLSTM."""
    spec = parse("recipe:xlstm_7_1")
    kinds = [layer.experts[0].core.kind for layer in spec.scaffolds]
    assert len(kinds) == 48
    assert kinds == (["mlstm"] * 7 + ["slstm"]) * 6


def test_templates_of_the_first_version() -> None:
    """B5 B7 V5e: `cortex_auto` is what V1's builder gives with its plain blocks, with and without Axon layers."""
    from cortexc.cortex_dsl import (
        AxonCoreConfig,
        PostUpScaffoldConfig,
        PreUpScaffoldConfig,
        mLSTMCoreConfig,
        sLSTMCoreConfig,
    )

    blocks = {
        "axon_preup": PreUpScaffoldConfig(core=AxonCoreConfig()),
        "mlstm_preup": PreUpScaffoldConfig(core=mLSTMCoreConfig()),
        "slstm_postup": PostUpScaffoldConfig(core=sLSTMCoreConfig()),
    }
    assert parse("recipe:cortex_auto") == build_cortex_auto_config(**blocks)
    assert parse("recipe:cortex_auto_axon") == build_cortex_auto_config(use_axonlayers=True, **blocks)
    assert parse("recipe:axms_x4") == build_cortex_auto_config()


def test_search() -> None:
    """Wildcards find names; nothing found is empty."""
    assert {r.name for r in recipes("xlstm*")} == {n for n in RECIPES if n.startswith("xlstm")}
    assert recipes("XLSTM_7_?") == (RECIPES["xlstm_7_1"],)
    assert len(recipes()) == len(RECIPES)
    assert recipes("nothing*") == ()


def test_unknown_recipe() -> None:
    """E406: an unknown name has a place and the nearest one."""
    with pytest.raises(CortexSyntaxError) as caught:
        parse("recipe:xlstm_7_2")
    (found,) = caught.value.diagnostics
    assert (found.code, found.span.column, found.fix.replacement) == ("E406", 8, "xlstm_7_1")
    with pytest.raises(CortexSyntaxError, match="E406"):
        format_text("recipe:nothing_like_it_at_all")

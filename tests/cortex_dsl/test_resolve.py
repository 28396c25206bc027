"""Sizes from `d_hidden` downwards."""

from __future__ import annotations

import pytest

from cortexc.cortex_dsl import (
    AdapterScaffoldConfig,
    AxonCoreConfig,
    CortexSpecError,
    CortexStackConfig,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    PostUpGatedScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpGatedScaffoldConfig,
    PreUpScaffoldConfig,
    RoutedAdapterConfig,
    XLCoreConfig,
    layer_paths,
    parse,
    resolve,
)


@pytest.mark.parametrize(
    ("scaffold", "width"),
    [
        (PassThroughScaffoldConfig, 128),
        (PostUpScaffoldConfig, 128),
        (PostUpGatedScaffoldConfig, 128),
        (PreUpScaffoldConfig, 256),
        (PreUpGatedScaffoldConfig, 256),
    ],
)
@pytest.mark.parametrize("given", [None, 999])
def test_core_width(scaffold: type, width: int, given: int | None) -> None:
    """S2 S8 S9 U14: the scaffold sets the core's width, whatever the core says."""
    spec = CortexStackConfig(d_hidden=128, scaffolds=[scaffold(core=LSTMCoreConfig(hidden_size=given))])
    assert resolve(spec).scaffolds[0].core.hidden_size == width


def test_odd_factor_truncates() -> None:
    """S2: d_inner = int(proj_factor * d_hidden)."""
    spec = parse("preup(lstm, proj_factor=1.37)")
    assert resolve(spec, 101).scaffolds[0].experts[0].core.hidden_size == int(1.37 * 101)


def test_inferred_sizes() -> None:
    """U14 R2: head_dim, out_dim, router keys and adapter alpha are filled; explicit ones stay."""
    spec = parse("AX / X(head_dim=5){d_key=32}")
    spec = spec.model_copy(update={"routed_adapter": RoutedAdapterConfig(rank=8)})
    first, second = resolve(spec, 64).scaffolds
    assert first.experts[0].core.out_dim == 64
    assert first.experts[1].core.head_dim == 16
    assert second.experts[0].core.head_dim == 5
    assert (first.router.d_key, first.router.d_key_local) == (64, 64)
    assert (second.router.d_key, second.router.d_key_local) == (32, 32)
    assert resolve(spec, 64).routed_adapter.alpha == 8.0
    assert resolve(resolve(spec, 64)) == resolve(spec, 64)


def test_nested() -> None:
    """U13 R7: through adapters, columns and stacks used as cores."""
    inner = CortexStackConfig(scaffolds=[AdapterScaffoldConfig(scaffold=PreUpScaffoldConfig(core=LSTMCoreConfig()))])
    spec = CortexStackConfig(d_hidden=10, scaffolds=[PreUpScaffoldConfig(core=inner)])
    core = resolve(spec).scaffolds[0].core
    assert core.d_hidden == 20
    assert core.scaffolds[0].scaffold.core.hidden_size == 40


def test_inferred_values_are_not_set_by_the_user() -> None:
    """B9: resolving leaves `model_fields_set` as it was."""
    core = resolve(parse("X(mem_len=3)"), 64).scaffolds[0].experts[0].core
    assert core.model_fields_set == {"mem_len"}


def test_paths_without_text() -> None:
    """U14: configs without places are named by layer, expert and path."""
    spec = CortexStackConfig(
        d_hidden=250,
        scaffolds=[PostUpScaffoldConfig(core=XLCoreConfig()), PostUpScaffoldConfig(core=AxonCoreConfig(out_dim=3))],
    )
    with pytest.raises(CortexSpecError) as caught:
        resolve(spec)
    first, second = caught.value.diagnostics
    assert first.message == "layer 1: width 250 is not divisible by n_heads 4; nearest: 248, 252"
    assert (second.code, second.path) == ("E506", "scaffolds[1].core")


def test_repeated_errors_name_every_layer() -> None:
    """U14: a shared layer is reported at each place it stands."""
    column = parse("X").scaffolds[0]
    with pytest.raises(CortexSpecError) as caught:
        resolve(CortexStackConfig(d_hidden=6, scaffolds=[column] * 3))
    assert [d.message[:7] for d in caught.value.diagnostics] == ["layer 1", "layer 2", "layer 3"]


def test_layer_paths() -> None:
    """B1: every layer and expert has a path."""
    assert [p for p, _ in layer_paths(parse("AX / layer(M)"))] == [
        "scaffolds[0]",
        "scaffolds[0].experts[0]",
        "scaffolds[0].experts[1]",
        "scaffolds[1]",
    ]

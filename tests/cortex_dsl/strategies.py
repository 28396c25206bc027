"""Hypothesis strategies: any spec that the language can write."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from hypothesis import strategies as st

from cortexc.cortex_dsl import (
    AdapterScaffoldConfig,
    ColumnScaffoldConfig,
    CortexStackConfig,
    RoutedAdapterConfig,
    RouterConfig,
    TissueConfig,
    TissueFamilyConfig,
    TissueScaffoldConfig,
)
from cortexc.cortex_dsl.spec.cores import BUILT_IN_CORES
from cortexc.cortex_dsl.spec.scaffolds import BUILT_IN_SCAFFOLDS

FLOATS = {
    "r_min": (0.0, 0.4),
    "r_max": (0.5, 1.0),
    "temperature": (0.1, 5.0),
    "local_temperature": (0.1, 5.0),
    "max_phase": (0.1, 7.0),
    "eps": (1e-9, 1e-2),
    "proj_factor": (0.5, 4.0),
    "gru_bias": (-3.0, 3.0),
    "whisper_lambda": (-1.0, 1.0),
    "alpha": (0.5, 8.0),
}


def value_for(name: str, annotation: Any) -> st.SearchStrategy[Any]:
    """Values that a field takes."""
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(1, 64)
    if annotation is str:
        return st.sampled_from(["gru", "lru", "of_mine_2"])
    if annotation is float:
        low, high = FLOATS.get(name, (0.0, 0.9))
        return st.floats(low, high, allow_nan=False)
    if type(None) in get_args(annotation):
        inner = next(a for a in get_args(annotation) if a is not type(None))
        return st.none() | value_for(name, get_args(inner)[0] if get_args(inner) else inner)
    if get_origin(annotation) is not None and all(isinstance(a, str) for a in get_args(annotation)):
        return st.sampled_from(get_args(annotation))
    raise AssertionError(f"no values for {name}: {annotation}")


def configs(cls: type, *, without: tuple[str, ...] = (), **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A config with any subset of its options set."""
    skip = {"kind", "hidden_size", *without, *parts}
    options = {name: value_for(name, info.annotation) for name, info in cls.model_fields.items() if name not in skip}
    return st.builds(lambda chosen, **kw: cls(**chosen, **kw), st.fixed_dictionaries({}, optional=options), **parts)


cores = st.one_of([configs(c) for c in BUILT_IN_CORES])
holders = [c for c in BUILT_IN_SCAFFOLDS if "core" in c.model_fields]
routers = configs(RouterConfig)


@st.composite
def tissues(draw: st.DrawFn) -> TissueScaffoldConfig:
    names = draw(st.lists(st.sampled_from(["slstm", "axon", "mine", "b_2"]), min_size=1, max_size=3, unique=True))
    kinds = st.sampled_from(["slstm", "axoncell", "other"])
    parts = {
        "families": st.fixed_dictionaries({n: kinds.map(lambda k: TissueFamilyConfig(family_type=k)) for n in names}),
        "cell_mix": st.fixed_dictionaries({n: st.floats(0.1, 1.0) for n in names}),
        "width": st.integers(1, 9),
        "height": st.integers(1, 9),
    }
    return TissueScaffoldConfig(
        tissue=draw(configs(TissueConfig, **parts)), mode=draw(st.sampled_from(["stream", "diffusion"]))
    )


def stack_of(layers: st.SearchStrategy[Any]) -> st.SearchStrategy[CortexStackConfig]:
    def build(items: list[Any], cuts: set[int], **options: Any) -> CortexStackConfig:
        kept = tuple(sorted(c for c in cuts if c < len(items)))
        return CortexStackConfig(scaffolds=tuple(items), cuts=kept, **options)

    return st.builds(
        build,
        st.lists(layers, min_size=1, max_size=4).map(lambda ls: ls * 2 if len(ls) < 3 else ls),
        st.sets(st.integers(1, 5), max_size=2),
        d_hidden=st.none() | st.integers(1, 512),
        post_norm=st.booleans(),
        compile_scaffolds=st.booleans(),
        routed_adapter=st.none() | configs(RoutedAdapterConfig),
    )


base = st.one_of([configs(c, core=cores) for c in holders])


def _grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    column = configs(
        ColumnScaffoldConfig,
        without=("experts", "router"),
        experts=st.lists(inner, max_size=3).map(tuple),
        router=routers,
    )
    adapter = configs(AdapterScaffoldConfig, scaffold=inner)
    nested = st.one_of([configs(c, core=stack_of(inner)) for c in holders])
    return column | adapter | nested


experts = st.recursive(base | tissues(), _grow, max_leaves=6)
specs = stack_of(
    experts
    | configs(
        ColumnScaffoldConfig,
        without=("experts", "router"),
        experts=st.lists(experts, min_size=1, max_size=4).map(tuple),
        router=routers,
    )
)

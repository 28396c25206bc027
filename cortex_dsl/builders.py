"""The builders of all generations of the seeds, as functions from arguments to specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .api import parse
from .options import show_value
from .registry import Registry, as_expert, default_registry
from .sets import apply_overrides, map_nodes
from .spec.base import Node, updated
from .spec.cells import default_cells
from .spec.cores import mLSTMCoreConfig, sLSTMCoreConfig
from .spec.scaffolds import ColumnScaffoldConfig, RouterConfig
from .spec.stack import CortexStackConfig, RoutedAdapterConfig

Pattern = str | Sequence[str]

# With neither layers nor a depth given.
DEFAULT_NUM_LAYERS = 4
DEFAULT_CHAIN = "AMS"


def build_column_auto_config(
    d_hidden: int | None = None,
    *,
    cells: Sequence[Any] | None = None,
    pattern: str | None = None,
    router: RouterConfig | None = None,
    custom_map: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> ColumnScaffoldConfig:
    """One column, from cells (or raw scaffold configs) or from a pattern of one layer.

    `d_hidden` is taken for the builders' old signature: a column gets its width from the stack it stands in.
    """
    if cells is not None and pattern is not None:
        raise TypeError("give `cells=` or `pattern=`, not both")
    _check_width(d_hidden)
    if pattern is not None:
        spec = parse(pattern, registry=registry, custom_map=custom_map)
        if len(spec.scaffolds) != 1 or not isinstance(spec.scaffolds[0], ColumnScaffoldConfig):
            raise ValueError(f"a column is one layer, but {pattern!r} has {len(spec.scaffolds)}")
        column = spec.scaffolds[0]
        return column if router is None else updated(column, router=router)
    experts = tuple(as_expert(cell) for cell in (default_cells() if cells is None else cells))
    return ColumnScaffoldConfig(experts=experts, router=router or RouterConfig())


def build_cortex_auto_config(
    d_hidden: int | None = None,
    num_layers: int | None = None,
    pattern: Pattern | None = None,
    *,
    layers: Sequence[Any] | None = None,
    block_pattern: str | None = None,
    router: RouterConfig | None = None,
    custom_map: Mapping[str, Any] | None = None,
    override_global_configs: Sequence[Node] | None = None,
    routed_adapter: RoutedAdapterConfig | None = None,
    use_axonlayers: bool = False,
    post_norm: bool | None = None,
    compile_scaffolds: bool | None = None,
    axon_preup: Any | None = None,
    mlstm_preup: Any | None = None,
    slstm_postup: Any | None = None,
    registry: Registry | None = None,
) -> CortexStackConfig:
    """A stack of columns.

    Say what the layers are in one way: `layers=` (a list of cells for each layer), `pattern=` (text, or one text for
    each layer), or `block_pattern=`, whose letters are layers in depth. With none of them: `default_cells()`,
    `num_layers` times. `router=` applies to every column; `override_global_configs=` comes last and wins.
    """
    given = [
        n for n, v in (("layers", layers), ("pattern", pattern), ("block_pattern", block_pattern)) if v is not None
    ]
    if len(given) > 1:
        raise TypeError(f"give one of {' and '.join(f'`{n}=`' for n in given)}, not {len(given)}")
    _check_width(d_hidden)
    _check_depth(num_layers)
    blocks = {"A": axon_preup, "M": mlstm_preup, "S": slstm_postup}
    blocks = {name: block for name, block in blocks.items() if block is not None}
    if layers is not None:
        spec = CortexStackConfig(scaffolds=_layers(layers, num_layers))
    elif pattern is not None:
        spec = _from_pattern(pattern, num_layers, registry, {**blocks, **(custom_map or {})})
    elif block_pattern is not None or blocks:
        spec = _chain(block_pattern, num_layers or 3, registry, {**blocks, **(custom_map or {})})
    else:
        column = ColumnScaffoldConfig(experts=tuple(default_cells()))
        spec = CortexStackConfig(scaffolds=(column,) * (num_layers or DEFAULT_NUM_LAYERS))
    own: dict[str, Any] = {"d_hidden": d_hidden, "post_norm": post_norm, "compile_scaffolds": compile_scaffolds}
    own |= {"routed_adapter": routed_adapter}
    spec = updated(spec, **{name: value for name, value in own.items() if value is not None})
    if router is not None:
        spec = map_nodes(spec, lambda n: updated(n, router=router) if isinstance(n, ColumnScaffoldConfig) else n)
    if use_axonlayers:
        spec = apply_overrides(spec, axon_layers())
    return apply_overrides(spec, override_global_configs)


def axon_layers() -> tuple[Node, ...]:
    """The overrides that `use_axonlayers=True` stands for."""
    return mLSTMCoreConfig(use_axon_layer=True, use_axon_qkv=True), sLSTMCoreConfig(use_axon_layer=True)


def _layers(layers: Sequence[Any], num_layers: int | None) -> tuple[Node, ...]:
    made: list[Node] = []
    for layer in layers:
        if isinstance(layer, (list, tuple)):
            made.append(ColumnScaffoldConfig(experts=tuple(as_expert(cell) for cell in layer)))
        else:
            made.append(as_expert(layer))
    if num_layers is not None and num_layers != len(made):
        if len(made) == 1:
            return tuple(made) * num_layers
        raise ValueError(f"num_layers={num_layers}, but `layers` has {len(made)}; leave `num_layers` out")
    return tuple(made)


def _from_pattern(
    pattern: Pattern, num_layers: int | None, registry: Registry | None, custom_map: Mapping[str, Any]
) -> CortexStackConfig:
    if isinstance(pattern, str):
        return parse(pattern, num_layers=num_layers, registry=registry, custom_map=custom_map)
    columns = [build_column_auto_config(pattern=p, registry=registry, custom_map=custom_map) for p in pattern]
    return CortexStackConfig(scaffolds=_layers(columns, num_layers))


def _chain(
    block_pattern: str | None, num_layers: int, registry: Registry | None, custom_map: Mapping[str, Any]
) -> CortexStackConfig:
    """The oldest meaning of a pattern: each letter is a layer of its own."""
    known = (registry or default_registry()).extended(custom_map)
    if block_pattern is None:
        text = (DEFAULT_CHAIN * num_layers)[:num_layers]
    else:
        text = block_pattern
    parts = known.split("".join(text.split()))
    if not parts:
        # Let the parser complain: it knows how to point at the letter.
        parse(text, registry=registry, custom_map=custom_map)
        raise ValueError(f"block_pattern {text!r} names no layers")
    return parse(" / ".join(parts), registry=registry, custom_map=custom_map)


def _check_width(d_hidden: int | None) -> None:
    if d_hidden is not None and (isinstance(d_hidden, bool) or not isinstance(d_hidden, int) or d_hidden < 1):
        raise ValueError(f"d_hidden must be a positive int, got {show_value(d_hidden)}")


def _check_depth(num_layers: int | None) -> None:
    if num_layers is not None and (isinstance(num_layers, bool) or not isinstance(num_layers, int) or num_layers < 1):
        raise ValueError(f"num_layers must be a positive int, got {show_value(num_layers)}")

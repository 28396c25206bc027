"""A resolved spec -> the program: one graph for each distinct layer, and an entry that calls them."""

from __future__ import annotations

from ...cortex_dsl import CortexStackConfig, RoutedAdapterConfig, token_of
from ...cortex_dsl import Node as ConfigNode
from ..ir import Graph, Node, Program, Value
from ..ir.graph import Attr
from . import cores, scaffolds  # noqa: F401  (importing them registers the parts)
from .adapters import adapter_of
from .builder import Builder
from .foreign import find
from .registry import class_name, lookup, where_of

MODES = ("sequence", "step")


def lower(spec: CortexStackConfig, mode: str, *, plain: bool = False) -> Program:
    """Trace every distinct layer once. Layers with equal configs share a graph, whatever the depth of the stack."""
    graphs: dict[str, Graph] = {}
    by_config: dict[str, str] = {}
    width, adapter = width_of(spec), adapter_of(spec)
    entry = Builder(mode, width, plain=plain, adapter=adapter)
    x = entry.x
    for index, layer in enumerate(spec.scaffolds):
        key = layer.model_dump_json()
        if key not in by_config:
            by_config[key] = name = _layer_name(layer, graphs)
            graphs[name] = trace_part(layer, name, width, mode, plain=plain, adapter=adapter)
        attrs: dict[str, Attr] = {
            "graph": by_config[key],
            "scope": f"layers.{index}",
            "state": f"{class_name(layer)}_{index}",
        }
        out = Value(f"%layer{index}", x.type)
        inputs = (x.name, *(r.name for r in entry.inputs[1:]))
        entry.tape.nodes.append(Node("call", inputs, (out,), tuple(attrs.items())))
        x = type(x)(out.name, out.type, entry)
    if spec.post_norm:
        x = entry.layer_norm("norm", x, bias=True)
    return Program(mode, entry.finish("stack", x), graphs)


def lower_part(config: ConfigNode, width: int, mode: str, *, plain: bool = False) -> Program:
    """A scaffold or core by itself: its graph is the whole program. A user's module hangs under its family's name."""
    scope = config.family if find(config) is not None else ""
    return Program(mode, trace_part(config, "part", width, mode, plain=plain, scope=scope), {})


def width_of(spec: CortexStackConfig) -> int:
    """``d_hidden`` of a resolved spec, which always has one."""
    if spec.d_hidden is None:
        raise ValueError("the spec has no d_hidden yet: resolve it first")
    return spec.d_hidden


def trace_part(
    config: ConfigNode,
    name: str,
    width: int,
    mode: str,
    *,
    plain: bool = False,
    scope: str = "",
    adapter: RoutedAdapterConfig | None = None,
) -> Graph:
    """The graph of one scaffold or core by itself."""
    b = Builder(mode, width, plain=plain, adapter=adapter).at(scope, where=where_of(config))
    return b.finish(name, lookup(config)(b, config, b.x))


def _layer_name(layer: ConfigNode, taken: dict[str, Graph]) -> str:
    """A readable function name: ``column_axms``, ``column_axms_2`` for a second, different one."""
    experts = getattr(layer, "experts", None)
    letters = "".join(token_of(e) for e in experts) if experts else token_of(layer)
    base = ("column_" if experts else "layer_") + "".join(
        c.lower() if c.isalnum() else "x" if c == "^" else "_" for c in letters
    )
    base = base[:40]
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}_{n}"
    return name

"""The spec to its canonical text: `parse(format_spec(s)) == s`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .diagnostics import CortexSpecError, Diagnostic
from .fold import folded
from .options import settable, show_value
from .registry import Registry, default_registry, expert_of_core
from .spec.base import Node, kinds, option_names
from .spec.scaffolds import ColumnScaffoldConfig, RouterConfig
from .spec.stack import CortexStackConfig, RoutedAdapterConfig
from .spec.tissue import NAME, TissueConfig, TissueScaffoldConfig, family_type


def format_spec(spec: CortexStackConfig, *, registry: Registry | None = None) -> str:
    """The canonical text of a spec. Tokens of `registry` are used where they fit; everything else is spelled out."""
    return _Formatter(registry or default_registry()).stack(spec)


class _Formatter:
    def __init__(self, registry: Registry) -> None:
        self.tokens = [(i.name, i.config, i.built_in) for i in registry.infos()]
        self._layers: dict[Node, str] = {}
        self._cells: dict[Node, tuple[str, bool]] = {}

    def stack(self, spec: CortexStackConfig) -> str:
        if not spec.scaffolds:
            raise _unwritable("a stack without layers")
        edges = (0, *spec.cuts, len(spec.scaffolds))
        texts = [self.layer(layer) for layer in spec.scaffolds]
        parts = [folded(texts[a:b]) for a, b in pairwise(edges)]
        options = self.stack_options(spec)
        return " | ".join(parts) + (f" with {' '.join(options)}" if options else "")

    def stack_options(self, spec: CortexStackConfig) -> list[str]:
        options = [o for o in _differences(spec, CortexStackConfig()) if not o.startswith("cuts=")]
        if spec.routed_adapter is not None:
            adapter = spec.routed_adapter
            _exactly(adapter, RoutedAdapterConfig)
            # The first one is written even at its default: it is what switches adapters on.
            shown = [f"num_slots={adapter.num_slots}", *_differences(adapter, RoutedAdapterConfig())]
            options += [f"adapter_{o}" for o in dict.fromkeys(shown)]
        return options

    def layer(self, layer: Node) -> str:
        if layer not in self._layers:
            self._layers[layer] = self._layer(layer)
        return self._layers[layer]

    def _layer(self, layer: Node) -> str:
        if type(layer) is ColumnScaffoldConfig and layer.experts:
            cells = [self.cell(e) for e in layer.experts]
            glue = "" if all(plain for _, plain in cells) else " "
            router = self.router_options(layer)
            return glue.join(text for text, _ in cells) + (f"{{{', '.join(router)}}}" if router else "")
        if type(layer) is TissueScaffoldConfig:
            return f"tissue {self.tissue(layer)}"
        return f"layer({self.cell(layer)[0]})"

    def router_options(self, column: ColumnScaffoldConfig) -> list[str]:
        _exactly(column.router, RouterConfig)
        alpha = [] if column.alpha_init == 1.0 else [f"alpha_init={show_value(column.alpha_init)}"]
        return [*_differences(column.router, RouterConfig()), *alpha]

    def cell(self, expert: Node) -> tuple[str, bool]:
        """The text of an expert, and whether it is a built-in token that may be glued."""
        if expert not in self._cells:
            self._cells[expert] = self._cell(expert)
        return self._cells[expert]

    def _cell(self, expert: Node) -> tuple[str, bool]:
        for name, config, built_in in self.tokens:
            if config == expert:
                return name, built_in
        kind = expert.kind
        if type(expert) is not kinds("scaffold").get(kind) or not NAME.fullmatch(kind):
            raise _unwritable(f"a {type(expert).__name__}")
        if isinstance(expert, ColumnScaffoldConfig):
            cells = [self.cell(e)[0] for e in expert.experts]
            return f"column({', '.join([*cells, *self.router_options(expert)])})", False
        if isinstance(expert, TissueScaffoldConfig):
            return f"tissue_layer({_string(self.tissue(expert))})", False
        if "scaffold" in type(expert).model_fields:
            wrapped = self.cell(expert.scaffold)[0]  # type: ignore[attr-defined]
            return wrapped + _call(f"@{kind}", _differences(expert, _plain(expert, "scaffold"))), False
        return self.holder(expert), False

    def holder(self, expert: Node) -> str:
        """A scaffold around a core: a token or core name with options, and `@scaffold` where that is unusual."""
        core = getattr(expert, "core", None)
        if core is None or isinstance(core, CortexStackConfig):
            inner = "none" if core is None else self.stack_core(core)
            return _call(expert.kind, [inner, *_differences(expert, _plain(expert, "core"))])
        if type(core) is not kinds("core").get(core.kind) or not NAME.fullmatch(core.kind):
            raise _unwritable(f"a {type(core).__name__}")
        text, usual = self.core(core)
        if expert == usual:
            return text
        return text + _call(f"@{expert.kind}", _differences(expert, _plain(expert, "core")))

    def core(self, core: Node) -> tuple[str, Node]:
        """The shortest way to write a core as a cell, and the scaffold that this cell gives it."""
        ways: list[tuple[int, str, Node]] = []
        for name, config, built_in in self.tokens:
            like = getattr(config, "core", None)
            if built_in and type(like) is type(core):
                options = _differences(core, like)
                ways.append((len(options), _call(name, options), config.model_copy(update={"core": core})))
        if not ways:
            options = _differences(core, _plain(core))
            return _call(core.kind, options) if options else core.kind, expert_of_core(core)
        _, text, usual = min(ways, key=lambda way: way[0])
        return text, usual

    def stack_core(self, spec: CortexStackConfig) -> str:
        layers = []
        for layer in spec.scaffolds:
            text = self.cell(layer)[0]
            layers.append(text if isinstance(layer, ColumnScaffoldConfig) else f"layer({text})")
        cuts = [f"cuts={show_value(spec.cuts)}"] if spec.cuts else []
        return f"stack({', '.join([*layers, *self.stack_options(spec), *cuts])})"

    def tissue(self, layer: TissueScaffoldConfig) -> str:
        tissue = layer.tissue
        _exactly(tissue, TissueConfig)
        dims = "x".join(str(d) for d in (tissue.width, tissue.height, tissue.depth) if d is not None)
        mix = ", ".join(f"{name}: {show_value(share)}" for name, share in tissue.cell_mix.items())
        written = ("width", "height", "depth", "families", "cell_mix")
        base = tissue.model_copy(
            update={n: f.default for n, f in TissueConfig.model_fields.items() if n not in written}
        )
        options = _differences(tissue, base)
        types = []
        for name in tissue.cell_mix:
            _exactly(family := tissue.families[name], type(family))
            if set(option_names(type(family))) != {"family_type"}:
                raise _unwritable(f"a {type(family).__name__}")
            types.append(family.family_type)
        if types != [family_type(name) for name in tissue.cell_mix]:
            options.append(f"family_types={show_value(types)}")
        if layer.mode != "stream":
            options.append(f"mode={layer.mode}")
        return " ".join([f"{dims} {{{mix}}}", *options])


def _call(name: str, parts: Sequence[str]) -> str:
    return f"{name}({', '.join(parts)})" if parts else name


def _string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(node: Node, part: str | None = None) -> Node | None:
    """The node as its class makes it, with the same part; None where a class has options without default."""
    try:
        return type(node)(**({part: getattr(node, part)} if part else {}))
    except ValueError:
        return None


def _differences(node: Node, base: Node | None) -> list[str]:
    """`name=value` for each option in which a node is not like `base`."""
    names = [*settable(type(node)), *(["hidden_size"] if node.family == "core" else [])]
    shown = []
    for name in names:
        value = getattr(node, name)
        if base is None or value != getattr(base, name):
            if not _simple(value):
                raise _unwritable(f"{type(node).__name__}.{name} = {value!r}")
            shown.append(f"{name}={show_value(value)}")
    return shown


def _simple(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_simple, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _exactly(node: Node, kind: type[Node]) -> None:
    if type(node) is not kind:
        raise _unwritable(f"a {type(node).__name__}")


def _unwritable(what: str) -> CortexSpecError:
    message = f"the language has no way to write {what}"
    return CortexSpecError([Diagnostic("E512", message, help="keep this spec as JSON: `spec.model_dump_json()`")])

"""What may stand at a place of a text. Works on texts that do not parse yet: they are being typed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from ..cortex_dsl import RECIPES, Node, TokenInfo, kinds, names_of
from ..cortex_dsl.lower_stack import ADAPTER
from ..cortex_dsl.options import settable, show_value, type_named, type_names
from ..cortex_dsl.recipes import PREFIX
from ..cortex_dsl.scan import Piece, pieces
from ..cortex_dsl.spec.cells import inner_scaffold
from ..cortex_dsl.spec.scaffolds import ColumnScaffoldConfig, RouterConfig
from ..cortex_dsl.spec.stack import CortexStackConfig, RoutedAdapterConfig
from ..cortex_dsl.spec.tissue import TissueConfig, TissueScaffoldConfig

# Options that have a spelling of their own: `|`, `32x32`, `{slstm: 0.7}`.
NOT_TYPED = ("cuts", "width", "height", "depth", "families", "cell_mix")
KEYWORDS = ("let", "stack", "tissue", "set", "include", "import", "with")


@dataclass(frozen=True)
class Item:
    """A suggestion; `kind` is `token`, `option`, `scaffold`, `core`, `value`, `keyword`, `type` or `recipe`."""

    text: str
    kind: str
    about: str = ""


def complete(text: str, offset: int, *, source: str = "<pattern>") -> list[Item]:
    """Suggestions at `offset`; the editor filters them by what is already typed of the word."""
    typed = [p for p in pieces(text[:offset]) if p.kind != "bad"]
    if typed and typed[-1].kind == "word" and typed[-1].end == offset:
        typed.pop()  # the word being typed
    last = typed[-1] if typed else None
    names = names_of(text, source=source)
    if text[:offset].lstrip().startswith(PREFIX):
        return [Item(r.name, "recipe", r.pattern) for r in RECIPES.values()]
    if last is None or last.kind == "newline":
        return [*_words(KEYWORDS[:-1]), *_experts(names)]
    if last.text == "@":
        return list(_scaffolds(wraps=True))
    line = _line(typed)
    if line and line[0].text == "set":
        return list(_set(line, last))
    around = _around(typed, names)
    if last.text == "=" and around:
        option = typed[-2].text if len(typed) > 1 else ""
        return [item for kind in around for item in _values(kind, option)]
    if around:
        options = [item for kind in around for item in _options(kind)]
        opener = _opener(typed)
        inside = opener is not None and opener.text == "(" and any(issubclass(k, _holders()) for k in around)
        return [*options, *(_experts(names) if inside else ())]
    return [*_experts(names), *_words(("with",))]


def _line(typed: list[Piece]) -> list[Piece]:
    start = max((i + 1 for i, p in enumerate(typed) if p.kind == "newline"), default=0)
    return typed[start:]


def _words(words: Iterable[str]) -> Iterator[Item]:
    return (Item(word, "keyword") for word in words)


def _experts(names: Iterable[TokenInfo]) -> Iterator[Item]:
    for info in names:
        yield Item(info.name, "token", info.summary)
    for name, core in kinds("core").items():
        yield Item(name, "core", _summary(core))
    yield from _scaffolds(wraps=False)


def _scaffolds(*, wraps: bool) -> Iterator[Item]:
    for name, kind in kinds("scaffold").items():
        if not wraps or {"core", "scaffold"} & set(kind.model_fields):
            yield Item(name, "scaffold", _summary(kind))


def _summary(kind: type[Node]) -> str:
    return (kind.__doc__ or "").strip().split("\n")[0]


def _options(kind: type[Node]) -> Iterator[Item]:
    if kind is CortexStackConfig:
        yield Item("num_layers", "option", "repeats a single plain layer")
        for name in settable(RoutedAdapterConfig):
            yield Item(ADAPTER + name, "option", _type(RoutedAdapterConfig, name))
    if kind is ColumnScaffoldConfig:
        yield from _options(RouterConfig)
    if kind is TissueConfig:
        yield Item("mode", "option", "tissue_layer: stream or diffusion")
    for name in settable(kind):
        if name not in NOT_TYPED:
            yield Item(name, "option", _type(kind, name))


def _type(kind: type[Node], name: str) -> str:
    default = kind.model_fields[name].get_default(call_default_factory=True)
    return f"{kind.model_fields['kind'].default}: default {show_value(default)}"


def _values(kind: type[Node], option: str) -> Iterator[Item]:
    if kind is ColumnScaffoldConfig and option in RouterConfig.model_fields:
        kind = RouterConfig
    if kind is TissueConfig and option == "mode":
        kind = TissueScaffoldConfig
    name = option.removeprefix(ADAPTER) if kind is CortexStackConfig and option.startswith(ADAPTER) else option
    owner: Any = RoutedAdapterConfig if name != option else kind
    if name not in owner.model_fields:
        return
    annotation = owner.model_fields[name].annotation
    default = owner.model_fields[name].get_default(call_default_factory=True)
    if isinstance(default, bool):
        choices: list[Any] = [True, False]
    else:
        choices = [c for c in get_args(annotation) if isinstance(c, str)]
    for choice in choices:
        yield Item(show_value(choice), "value", "default" if choice == default else "")


def _set(line: list[Piece], last: Piece) -> Iterator[Item]:
    if last.text == "set":
        for name in type_names():
            yield Item(name, "type", _summary(type_named(name) or Node))
    kind = type_named(line[1].text) if len(line) > 1 else None
    if kind is not None and last.text == ".":
        yield from _options(kind)
    elif kind is not None and last.text == "=" and len(line) > 3:
        yield from _values(kind, line[3].text)


def _opener(typed: list[Piece]) -> Piece | None:
    """The bracket that is open at the end, if any."""
    depth = 0
    for piece in reversed(typed):
        depth += (piece.text in (")", "]", "}")) - (piece.text in ("(", "[", "{"))
        if depth < 0:
            return piece
    return None


def _around(typed: list[Piece], names: tuple[TokenInfo, ...]) -> list[type[Node]]:
    """The configs whose options may stand at the end: of the call, the router, the `with`, the tissue line."""
    opener = _opener(typed)
    if opener is None:
        line = _line(typed)
        words = [p.text for p in line]
        if "with" in words:
            return [CortexStackConfig]
        return [TissueConfig] if "tissue" in words and "}" in words else []
    if opener.text == "{":
        before = [p for p in typed if p.end <= opener.start]
        return [] if before and before[-1].kind == "dims" else [ColumnScaffoldConfig]
    name = next((p for p in typed if p.end == opener.start and p.kind == "word"), None)
    if opener.text != "(" or name is None:
        return []
    if kind := kinds("scaffold").get(name.text) or kinds("core").get(name.text):
        return [kind]
    known = [info for info in names if name.text.endswith(info.name)]
    if not known:
        return []
    inner = inner_scaffold(max(known, key=lambda info: len(info.name)).config)
    return [type(getattr(inner, "core", None) or inner)]


def _holders() -> tuple[type[Node], ...]:
    return tuple(kinds("scaffold").values())

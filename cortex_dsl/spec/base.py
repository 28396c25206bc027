"""`Node`: the frozen base of every config, and the open table of kinds.

A node remembers where it was written (`span_of`), which token it came from and what set its fields. These marks are
private: they take no part in equality, hash, repr or JSON, and survive `model_copy`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr, SerializeAsAny, model_validator

from ..spans import Span
from ..suggest import closest, listed

N = TypeVar("N", bound="Node")

# Names of older versions of the configs; a user who types one gets the new name, never a silent alias.
RENAMED = {
    "cell": "core",
    "block": "scaffold",
    "blocks": "scaffolds",
    "compile_blocks": "compile_scaffolds",
    "adapters": "routed_adapter",
}


@dataclass(frozen=True, slots=True)
class Option:
    """The mark of a value that the text gave as `name=value`."""

    name: Span
    value: Span

    def __str__(self) -> str:
        return f"option at {self.name}"


_KINDS: dict[str, dict[str, type[Node]]] = {}
_BUILT_IN_PACKAGE = __name__.rsplit(".", 1)[0]


class Node(BaseModel):
    """Base of all configs: frozen, no unknown fields, told apart in JSON by `kind`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False, defer_build=True
    )

    family: ClassVar[str] = "node"
    kind: str = ""

    _span: Span | None = PrivateAttr(default=None)
    _token: str | None = PrivateAttr(default=None)
    _origin: dict[str, str | Option] = PrivateAttr(default_factory=dict)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "kind" not in inspect.get_annotations(cls):
            # A user's subclass does not have to repeat its own name.
            info = cls.model_fields["kind"]
            info.annotation, info.default = Literal[cls.__name__], cls.__name__  # type: ignore[assignment]
            cls.model_rebuild(force=True)
        _register_kind(cls)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for name in data:
                if name not in cls.model_fields:
                    raise ValueError(unknown_option(cls, str(name)))
        return data

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), tuple(_hashable(v) for v in self.__dict__.values())))


def _hashable(value: Any) -> Any:
    # A user's config may hold lists and dicts.
    if isinstance(value, dict):
        return tuple(sorted((k, _hashable(v)) for k, v in value.items()))
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


class FrozenDict(dict[str, Any]):
    """A dict that can be hashed and not written, for fields that map names to parts."""

    def _refuse(self, *args: object, **kwargs: object) -> Any:
        raise TypeError("configs are frozen: make a new one with model_copy(update=...)")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        return self


def unknown_option(cls: type[Node], name: str) -> str:
    """The message for an option that `cls` does not have."""
    known = option_names(cls)
    message = f"{cls.__name__} has no option `{name}`"
    if RENAMED.get(name) in known:
        message += f"; it is now called `{RENAMED[name]}`"
    elif near := closest(name, known):
        message += f"; did you mean `{near}`?"
    elif name in (inside := _core_options(cls)):
        # A cell was a core once: `LSTMCellConfig(num_layers=2)`.
        core = type(inside[name]).__name__
        message += f"; it is an option of its core: `{cls.__name__}(core={core}({name}=...))`"
    return f"{message} (options: {listed(known)})"


def _core_options(cls: type[Node]) -> dict[str, Node]:
    """The options of the core that a cell or scaffold has by default, each with that core."""
    core = cls.model_fields["core"].get_default(call_default_factory=True) if "core" in cls.model_fields else None
    return dict.fromkeys(option_names(type(core)), core) if isinstance(core, Node) else {}


def option_names(cls: type[Node]) -> tuple[str, ...]:
    """The fields of a config that a user may write."""
    return tuple(name for name in cls.model_fields if name != "kind")


def _register_kind(cls: type[Node]) -> None:
    kind = cls.model_fields["kind"].default
    if not kind:
        return
    table = _KINDS.setdefault(cls.family, {})
    old = table.get(kind)
    if old is not None and old.__module__.startswith(_BUILT_IN_PACKAGE) and cls.__module__ != old.__module__:
        raise ValueError(f"kind `{kind}` belongs to the built-in {old.__name__}; give {cls.__name__} another `kind`")
    table[kind] = cls  # a class defined again (a notebook cell run twice) replaces itself


def kinds(family: str) -> dict[str, type[Node]]:
    """The known kinds of a family: `core`, `scaffold`, `stack`, ..."""
    return dict(_KINDS.get(family, {}))


def one_of(*families: str, convert: Callable[[Any], Any] | None = None) -> Any:
    """A field type: any node of these families; a dict is read by its `kind`."""

    def read(value: Any) -> Any:
        if convert is not None:
            value = convert(value)
        if isinstance(value, dict):
            kind = value.get("kind")
            table = {k: c for family in families for k, c in kinds(family).items()}
            if kind not in table:
                near = closest(str(kind), table)
                hint = f"; did you mean `{near}`?" if near else ""
                raise ValueError(f"unknown kind {kind!r}{hint} (known: {listed(table)})")
            return table[kind].model_validate(value)
        if not isinstance(value, Node) or value.family not in families:
            core = getattr(value, "core", None) if "core" in families else None
            hint = f"; give it the core: `{type(core).__name__}(...)`" if isinstance(core, Node) else ""
            raise ValueError(f"expected a {' or '.join(families)} config, got {type(value).__name__}{hint}")
        return value

    return Annotated[SerializeAsAny[Node], BeforeValidator(read)]


def span_of(node: Node) -> Span | None:
    """Where the node was written, if it came from text."""
    return node.__pydantic_private__["_span"]  # type: ignore[index]  # a tenth of the time of `node._span`


def written_as(node: Node) -> str | None:
    """The token the node was built from, if any."""
    return node._token


def origins_of(node: Node) -> dict[str, str]:
    """What set a field, where it is known: field -> `option at ...`, `token ...`, `set ...`, `override`."""
    return {name: str(mark) for name, mark in node._origin.items()}


def value_place(node: Node, name: str) -> Span | None:
    """Where the text says the value of an option, if it does."""
    mark = node._origin.get(name)
    return mark.value if isinstance(mark, Option) else None


def marked(
    node: N, *, span: Span | None = None, token: str | None = None, origin: Mapping[str, str | Option] | None = None
) -> N:
    """A copy of `node` with marks added."""
    marks: dict[str, Any] = dict(node.__pydantic_private__ or {})
    if span is not None:
        marks["_span"] = span
    if token is not None:
        marks["_token"] = token
    if origin:
        marks["_origin"] = {**marks["_origin"], **origin}
    return _copied(node, {}, marks)


def filled(node: N, **changes: Any) -> N:
    """`node` with inferred values: they are not checked, and do not count as set by the user."""
    return _copied(node, changes, node.__pydantic_private__)


def _copied(node: N, changes: dict[str, Any], marks: dict[str, Any] | None) -> N:
    # model_copy does the same in ten times the time, and a stack of a thousand layers is made of such copies.
    copy = object.__new__(type(node))
    put = object.__setattr__
    put(copy, "__dict__", {**node.__dict__, **changes})
    put(copy, "__pydantic_extra__", None)
    put(copy, "__pydantic_fields_set__", node.__pydantic_fields_set__.copy())
    put(copy, "__pydantic_private__", marks)
    return copy


def updated(node: N, **changes: Any) -> N:
    """`node` with checked changes; marks stay, and a change counts as explicitly set."""
    checked = type(node).model_validate({**shallow(node), **changes}).__dict__
    fields_set = node.model_fields_set | set(changes)
    values = {name: checked[name] for name in fields_set - {"kind"}}
    copy = _copied(node, values, dict(node.__pydantic_private__ or {}))
    object.__setattr__(copy, "__pydantic_fields_set__", fields_set)
    return copy


def shallow(node: Node) -> dict[str, Any]:
    """The fields of a node with child nodes left as they are."""
    return dict(node.__dict__)

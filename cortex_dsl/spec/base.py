"""`Node`: the frozen base of every config, and the open table of kinds.

A node remembers where it was written (`span_of`), which token it came from and what set its fields. These marks are
private: they take no part in equality, hash, repr or JSON, and survive `model_copy`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
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
    _origin: dict[str, str] = PrivateAttr(default_factory=dict)

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
    return f"{message} (options: {listed(known)})"


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
            name = type(value).__name__
            raise ValueError(f"expected a {' or '.join(families)} config, got {name}")
        return value

    return Annotated[SerializeAsAny[Node], BeforeValidator(read)]


def span_of(node: Node) -> Span | None:
    """Where the node was written, if it came from text."""
    return node._span


def written_as(node: Node) -> str | None:
    """The token the node was built from, if any."""
    return node._token


def origins_of(node: Node) -> dict[str, str]:
    """What set each field that an option did not: field -> `token ...`, `set ...`, `override`."""
    return dict(node._origin)


def marked(node: N, *, span: Span | None = None, token: str | None = None, origin: dict[str, str] | None = None) -> N:
    """A copy of `node` with marks added."""
    copy = node.model_copy()
    if span is not None:
        copy._span = span
    if token is not None:
        copy._token = token
    if origin:
        copy._origin = {**node._origin, **origin}
    return copy


def updated(node: N, **changes: Any) -> N:
    """`node` with checked changes; marks stay, and a change counts as explicitly set."""
    checked = type(node).model_validate({**shallow(node), **changes})
    fields_set = node.model_fields_set | set(changes)
    return node.model_copy(update={name: getattr(checked, name) for name in fields_set - {"kind"}})


def shallow(node: Node) -> dict[str, Any]:
    """The fields of a node with child nodes left as they are."""
    return dict(node.__dict__)

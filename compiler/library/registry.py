"""Which function writes which config as a graph. The kind of a config is the name of its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...cortex_dsl.checks import not_yet as not_yet
from ...cortex_dsl.labels import place_of, title_of
from ...cortex_dsl.spec import Node
from . import foreign
from .builder import Builder, Ref

Part = Callable[[Builder, Any, Ref], Ref]
F = TypeVar("F", bound=Part)

_PARTS: dict[str, Part] = {}


def part(config: type) -> Callable[[F], F]:
    """Register the graph of a core or scaffold config."""

    def register(function: F) -> F:
        _PARTS[config.__name__] = function
        return function

    return register


def lookup(config: object) -> Part:
    if foreign.find(config) is not None:
        return foreign.write
    kind = type(config).__name__
    if kind not in _PARTS:
        family = getattr(config, "family", "part")
        raise NotImplementedError(
            f"{kind} has no graph in this version; if it is yours, register its module: @register_{family}({kind}). "
            f"Parts that compile: {', '.join(sorted(_PARTS))}"
        )
    return _PARTS[kind]


def class_name(config: object) -> str:
    """The name a part has in the state: ``AxonCoreConfig`` -> ``AxonCore``; for a module of a user its class."""
    own = foreign.find(config)
    if own is not None:
        return own.name
    return type(config).__name__.removesuffix("Config")


def build_core(b: Builder, config: object, x: Ref) -> Ref:
    """The core of a scaffold: parameters under ``core``, state under the core's class name."""
    return lookup(config)(b.at("core", state=class_name(config)), config, x)


def where_of(config: Node, index: int | None = None) -> str:
    """What nodes say of their origin: the part, which expert of its column it is, and its place if it came from text:
    `column AXMS at 1:1`, `X (expert 1) at 1:2`."""
    expert = "" if index is None else f" (expert {index})"
    return f"{title_of(config)}{expert}{place_of(config)}"

"""Parts that compute in a module of the user's own: a table from config class to part, and the one node each becomes.

The runtime fills the table (``runtime/custom``), since it takes torch to ask a module what it holds. Here a foreign
part is a name, its parameters and its state leaves; what it computes stays closed: one ``foreign`` node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...cortex_dsl.spec import Node
from .builder import Builder, Ref

RULE = "foreign"  # how parameters start that the module itself starts


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf of the state: its path below the part, the shape of a row, a key of ``ir.types.DTYPES``, its start."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    start: int | float


@dataclass(frozen=True, slots=True)
class Description:
    """What a module holds: ``params`` as (path, shape, trainable), its leaves, and operations per token."""

    params: tuple[tuple[str, tuple[int, ...], bool], ...]
    leaves: tuple[Leaf, ...]
    flops: int


@dataclass(frozen=True, slots=True)
class ForeignPart:
    """``name`` is the class, as the state names it; ``module`` the Python module whose import registers it;
    ``describe(config, width)`` answers for the compiler, ``make(config, width, ...)`` gives the torch module."""

    name: str
    module: str
    describe: Callable[[Any, int], Description]
    make: Callable[..., Any]


_PARTS: dict[type, ForeignPart] = {}


def register(config: type, part: ForeignPart) -> None:
    _PARTS[config] = part


def find(config: object) -> ForeignPart | None:
    """The foreign part of a config, or of a config class."""
    return _PARTS.get(config if isinstance(config, type) else type(config))


def write(b: Builder, config: Node, x: Ref) -> Ref:
    """The graph of a foreign part: its parameters and leaves are declared, and one node carries them."""
    part = find(config)
    assert part is not None
    told = part.describe(config, x.width)
    for path, shape, trainable in told.params:
        b.param(path, shape, RULE, trainable=trainable)
    slots = [_under(b, leaf.path[:-1]).state(leaf.path[-1], leaf.shape, leaf.dtype, leaf.start) for leaf in told.leaves]
    y, *after = b.ops(
        "foreign",
        x,
        *slots,
        b.resets,
        hints=(part.name.lower(), *(leaf.path[-1] for leaf in told.leaves)),
        path=b.scope.rstrip("."),
        keys=tuple("/".join(leaf.path) for leaf in told.leaves),
        family=config.family,
        config=config.model_dump_json(),
        width=x.width,
        flops=told.flops,
        owners=tuple(dict.fromkeys(_owners(config))),
    )
    for slot, value in zip(slots, after, strict=True):
        b.carry(slot, value)
    return y


def _under(b: Builder, levels: tuple[str, ...]) -> Builder:
    for level in levels:
        b = b.at(state=level)
    return b


def _owners(value: object) -> Iterator[tuple[str, str, str]]:
    """(family, kind, module to import) of every foreign config inside a config, itself included."""
    if isinstance(value, Node):
        if (part := find(value)) is not None:
            yield value.family, value.kind, part.module
        for inside in vars(value).values():
            yield from _owners(inside)
    elif isinstance(value, (tuple, list)):
        for inside in value:
            yield from _owners(inside)

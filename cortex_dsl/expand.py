"""`expand`: every value of a spec, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .options import show_value
from .resolve import try_resolve
from .spec.base import Node, option_names, origins_of, span_of, written_as
from .spec.stack import CortexStackConfig


@dataclass(frozen=True, slots=True)
class Entry:
    """One value, such as `scaffolds[0].experts[1].core.mem_len = 64`, and where it came from: `option at 1:3`."""

    path: str
    value: Any
    origin: str

    def __str__(self) -> str:
        return f"{self.path} = {show_value(self.value)}  # {self.origin}"


def expand(spec: CortexStackConfig, d_hidden: int | None = None) -> tuple[Entry, ...]:
    """Every value of the resolved spec with its origin.

    An origin is `default`, `inferred`, or what set the value: `option at 1:3` in the text, `token X^`, `set at 2:1`,
    `override`, or `config` for an argument in Python.
    """
    resolved, _ = try_resolve(spec, d_hidden)
    return tuple(_entries(resolved, spec, "", "config"))


def _entries(node: Node, before: Node, path: str, around: str) -> Iterator[Entry]:
    dot = f"{path}." if path else ""
    # A part without a place of its own, such as the core of a token, came with the part around it.
    came = _kind_origin(node) or around
    yield Entry(f"{dot}kind", node.kind, came)
    for name in option_names(type(node)):
        value, old = getattr(node, name), getattr(before, name)
        if isinstance(value, Node):
            yield from _entries(value, old, f"{dot}{name}", came)
        elif isinstance(value, tuple) and any(isinstance(v, Node) for v in value):
            for i, (item, was) in enumerate(zip(value, old, strict=True)):
                yield from _entries(item, was, f"{dot}{name}[{i}]", came)
        elif isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, Node):
                    yield from _entries(item, old[key], f"{dot}{name}.{key}", came)
                else:
                    yield Entry(f"{dot}{name}.{key}", item, _origin(before, name))
        else:
            inferred = value != old
            yield Entry(f"{dot}{name}", value, "inferred" if inferred else _origin(before, name))


def _kind_origin(node: Node) -> str:
    token, span = written_as(node), span_of(node)
    where = f" at {span}" if span else ""
    return f"token {token}{where}" if token else f"written{where}" if span else ""


def _origin(node: Node, name: str) -> str:
    if name in (marks := origins_of(node)):
        return marks[name]
    return "config" if name in node.model_fields_set else "default"

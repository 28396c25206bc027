"""Changes by type over a whole spec: `set` fills what is open, an override has the last word."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .spec.base import Node, marked, updated

Change = Callable[[Node], Node]


def map_nodes(node: Any, change: Change, _seen: dict[int, tuple[Any, Any]] | None = None) -> Any:
    """The spec with `change` applied to every node, innermost first; untouched parts stay the same objects."""
    seen: dict[int, tuple[Any, Any]] = {} if _seen is None else _seen
    if id(node) in seen:
        return seen[id(node)][1]
    if isinstance(node, tuple):
        items = tuple(map_nodes(v, change, seen) for v in node)
        result: Any = node if all(a is b for a, b in zip(items, node, strict=True)) else items
    elif isinstance(node, dict):
        values = {k: map_nodes(v, change, seen) for k, v in node.items()}
        result = node if all(values[k] is v for k, v in node.items()) else values
    elif isinstance(node, Node):
        changes = {}
        for name, value in node.__dict__.items():
            mapped = map_nodes(value, change, seen) if isinstance(value, (Node, tuple, dict)) else value
            if mapped is not value:
                changes[name] = mapped
        if changes:
            fields_set = set(node.model_fields_set)
            rebuilt = updated(node, **changes)
            object.__setattr__(rebuilt, "__pydantic_fields_set__", fields_set)
            result = change(rebuilt)
        else:
            result = change(node)
    else:
        return node
    seen[id(node)] = (node, result)  # keeps `node` alive, so that its id stays its own
    return result


def nodes_of(spec: Node) -> list[Node]:
    """Every node of a spec, each object once."""
    found: list[Node] = []
    map_nodes(spec, lambda node: found.append(node) or node)  # type: ignore[func-returns-value]
    return found


def measure(node: Any, _seen: dict[int, tuple[Any, int, int]] | None = None) -> tuple[int, int]:
    """The depth of a spec and how many configs it has, a shared one counted each time: definitions can double both."""
    seen: dict[int, tuple[Any, int, int]] = {} if _seen is None else _seen
    if id(node) not in seen:
        children = node.__dict__.values() if isinstance(node, Node) else node
        found = [measure(c, seen) for c in children if isinstance(c, (Node, tuple))]
        own = int(isinstance(node, Node))
        depth = own + max((d for d, _ in found), default=0)
        seen[id(node)] = (node, depth, own + sum(n for _, n in found))
    return seen[id(node)][1:]


def apply_set(spec: Any, kind: type[Node], name: str, value: Any, origin: str) -> tuple[Any, bool]:
    """`set Kind.name = value`: where no option says otherwise. Tells whether any node had that type."""
    matched = False

    def change(node: Node) -> Node:
        nonlocal matched
        if type(node) is not kind:
            return node
        matched = True
        if name in node.model_fields_set:
            return node
        return marked(updated(node, **{name: value}), origin={name: origin})

    return map_nodes(spec, change), matched


def apply_overrides(spec: Any, overrides: Iterable[Node] | None) -> Any:
    """`spec` with each override merged into every node of its type, at any depth.

    Only fields set explicitly on the override count. `hidden_size` and nested parts are never overridden: sizes are
    inferred, and structure is the spec's own. A later override wins.
    """
    for override in overrides or ():
        if isinstance(override, type) or not isinstance(override, Node):
            raise TypeError(f"expected a config such as XLCoreConfig(mem_len=64), got {override!r}")
        if override.family == "cell":
            raise TypeError(
                f"{type(override).__name__} is a cell: override the core or the scaffold that it puts together"
            )
        values = {n: getattr(override, n) for n in override.model_fields_set if n not in NEVER}
        if values:
            spec = map_nodes(spec, _merging(type(override), values))
    return spec


NEVER = frozenset({"kind", "hidden_size", "core", "scaffold", "experts", "scaffolds", "d_hidden", "cuts"})


def _merging(kind: type[Node], values: dict[str, Any]) -> Change:
    def change(node: Node) -> Node:
        # The exact type: PreUpGated is a PreUp to Python, but not to a user who names PreUp.
        if type(node) is not kind:
            return node
        return marked(updated(node, **values), origin=dict.fromkeys(values, "override"))

    return change

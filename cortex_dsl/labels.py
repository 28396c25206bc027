"""How reports name a part: by its token where it has one, else by its class."""

from __future__ import annotations

from .registry import BUILT_IN
from .spec.base import Node, span_of, written_as
from .spec.cells import inner_scaffold
from .spec.cores import RecurrenceCoreConfig


def token_of(scaffold: Node) -> str:
    """`A`, `M^`, a user's `Y`; the recurrence or else the class name for anything that is no token's shape."""
    if token := written_as(scaffold):
        return token
    inner = inner_scaffold(scaffold)
    core = getattr(inner, "core", None)
    for name, cell in BUILT_IN.items():
        fields = cell.model_fields
        if type(core) is fields["core"].default_factory and type(inner) is fields["scaffold"].default_factory:
            flags = type(core).axon_flags  # type: ignore[union-attr]
            return name + "^" if flags and all(getattr(core, f) for f in flags) else name
    return core.cell if isinstance(core, RecurrenceCoreConfig) else type(scaffold).__name__


def title_of(part: Node) -> str:
    """Any part as a pattern spells it, without options: `A`, `column AXMS`, `mlstm@preup@adapter`, `lstm`."""
    if experts := getattr(part, "experts", ()):
        titles = [title_of(expert) for expert in experts]
        glue = "" if all(title.removesuffix("^") in BUILT_IN for title in titles) else " "
        return "column " + glue.join(f"({title})" if title.startswith("column ") else title for title in titles)
    token = token_of(part)
    if token != type(part).__name__:
        return token
    if "scaffold" in type(part).model_fields:
        inner = title_of(part.scaffold)  # type: ignore[attr-defined]
        return f"({inner})@{part.kind}" if " " in inner else f"{inner}@{part.kind}"
    core = getattr(part, "core", None)
    return part.kind if core is None else f"{core.kind}@{part.kind}"


def place_of(node: Node) -> str:
    """` at 1:8` for a part that came from text, nothing for one that did not."""
    span = span_of(node)
    return f" at {span}" if span else ""


def layer_paths(stack: Node) -> tuple[tuple[str, Node], ...]:
    """Every layer and expert of a stack with its path: `scaffolds[0].experts[2]`."""
    found: list[tuple[str, Node]] = []

    def walk(path: str, node: Node) -> None:
        found.append((path, node))
        for i, expert in enumerate(getattr(node, "experts", ())):
            walk(f"{path}.experts[{i}]", expert)

    for i, layer in enumerate(stack.scaffolds):  # type: ignore[attr-defined]
        walk(f"scaffolds[{i}]", layer)
    return tuple(found)

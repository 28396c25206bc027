"""The tokens: short names for experts, built in or registered by users."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .ambiguity import ambiguous_text
from .spec.base import Node, kinds, marked, updated
from .spec.cells import (
    AGaLiTeCellConfig,
    AxonCellConfig,
    CausalConv1dCellConfig,
    LSTMCellConfig,
    XLCellConfig,
    inner_scaffold,
    mLSTMCellConfig,
    sLSTMCellConfig,
    with_inner,
)
from .spec.cores import RecurrenceCoreConfig
from .spec.scaffolds import PassThroughScaffoldConfig

BUILT_IN: dict[str, Any] = {
    "A": AxonCellConfig,
    "Ag": AGaLiTeCellConfig,
    "X": XLCellConfig,
    "M": mLSTMCellConfig,
    "S": sLSTMCellConfig,
    "L": LSTMCellConfig,
    "C": CausalConv1dCellConfig,
}
RESERVED = frozenset({"let", "stack", "tissue", "set", "include", "import", "with", "column", "layer", "none"})

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_^]*")
_REPEAT_INSIDE = re.compile(r"x[0-9]")


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token and what it stands for."""

    name: str
    config: Node
    built_in: bool

    @property
    def summary(self) -> str:
        """`PostUpGated(AxonCore)` and the flags that a caret sets, or the recurrence that it runs."""
        inner = inner_scaffold(self.config)
        core = getattr(inner, "core", None)
        text = type(inner).__name__.removesuffix("ScaffoldConfig")
        if core is None:
            return text
        marks = [f"{f}=true" for f in getattr(core, "axon_flags", ()) if getattr(core, f)]
        if isinstance(core, RecurrenceCoreConfig):
            marks = [f"cell={core.cell}"]
        return f"{text}({', '.join([type(core).__name__.removesuffix('Config'), *marks])})"


class Registry:
    """A table of tokens; `extended` gives a copy that knows more."""

    def __init__(self, entries: Iterable[TokenInfo] = ()) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def infos(self) -> tuple[TokenInfo, ...]:
        return tuple(self._entries.values())

    def add(self, name: str, config: Any, *, built_in: bool = False) -> None:
        """Add a token; a name that could be misread is refused with the pattern it would spoil."""
        if problem := self.refuses(name):
            raise ValueError(f"cannot register token {name!r}: {problem}")
        self._entries[name] = TokenInfo(name, marked(as_expert(config), token=name), built_in)

    def remove(self, name: str) -> None:
        """Forget a token (built-in ones stay)."""
        if name in self._entries and not self._entries[name].built_in:
            del self._entries[name]

    def refuses(self, name: str) -> str | None:
        """Why `name` cannot be a token, or None."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return "a name is letters, digits and `_`, and starts with a letter; a variant ends in `^`"
        if "^" in name[:-1]:
            return "`^` may only stand at the end of a name"
        if _REPEAT_INSIDE.search(name):
            return "a name must not contain `x` followed by a digit: that is a repeat"
        if name in RESERVED:
            return "it is a word of the language"
        if name in self._entries or name.endswith("^"):
            return None  # replacing an entry or refining a variant adds no new way to read a run
        if name in kinds("core") or name in kinds("scaffold"):
            return "it is the name of a core or scaffold"
        return self._spoils(name)

    def _spoils(self, name: str) -> str | None:
        base = {n.removesuffix("^") for n in self._entries} | {name}
        names = base | {n + "^" for n in base}
        if found := ambiguous_text(names):
            text, first, second = found
            return f"`{text}` could then be read as `{' '.join(first)}` and as `{' '.join(second)}`"
        for kind in (*kinds("core"), *kinds("scaffold")):
            if (parts := split_run(kind, names)) and len(parts) > 1:
                return f"`{kind}` could then be read as `{' '.join(parts)}`"
        return None

    def extended(self, more: Mapping[str, Any] | None) -> Registry:
        """A copy with `more` tokens (a `custom_map`); they may replace built-in ones."""
        copy = Registry(self._entries.values())
        for name, config in (more or {}).items():
            if name in copy._entries and not name.endswith("^"):
                # A new meaning of `X` also renews `X^`, unless the map names that too.
                copy._entries.pop(name + "^", None)
            copy.add(name, config)
        for name, config in (more or {}).items():
            copy.add(name, config)
        return copy

    def find(self, name: str) -> tuple[Node, bool] | None:
        """The expert a token stands for, and whether its caret did anything; None if unknown."""
        if entry := self._entries.get(name):
            return entry.config, True
        if name.endswith("^") and (entry := self._entries.get(name[:-1])):
            config, changed = axonified(entry.config, name)
            return config, changed
        return None

    def split(self, run: str) -> tuple[str, ...] | None:
        """A run of glued tokens cut by longest match, or None where no token starts."""
        return split_run(run, self.splittable())

    def splittable(self) -> frozenset[str]:
        """All names that may stand in a run: every token and its caret variant."""
        return frozenset(self._entries) | {n + "^" for n in self._entries if not n.endswith("^")}


def split_run(run: str, names: Iterable[str]) -> tuple[str, ...] | None:
    """`run` cut by longest match over `names`; None if some part is no name."""
    table = names if isinstance(names, (set, frozenset)) else set(names)
    longest = max(map(len, table), default=0)
    parts: list[str] = []
    at = 0
    while at < len(run):
        for size in range(min(longest, len(run) - at), 0, -1):
            if run[at : at + size] in table:
                parts.append(run[at : at + size])
                at += size
                break
        else:
            return None
    return tuple(parts)


def axonified(expert: Node, token: str) -> tuple[Node, bool]:
    """`expert` with the Axon projections of its core switched on; False if its core has none."""
    core: Any = getattr(inner_scaffold(expert), "core", None)
    flags = getattr(type(core), "axon_flags", ())
    if not flags:
        return marked(expert, token=token), False
    core = marked(updated(core, **dict.fromkeys(flags, True)), origin=dict.fromkeys(flags, f"token {token}"))
    changed = with_inner(expert, lambda inner: updated(inner, core=core))
    return marked(changed, token=token), True


def as_expert(config: Any) -> Node:
    """A scaffold from a scaffold, a cell or a bare core."""
    if isinstance(config, type) and issubclass(config, Node):
        config = config()
    family = config.family if isinstance(config, Node) else ""
    if family == "cell":
        return config.to_scaffold()
    if family == "core":
        return expert_of_core(config)
    if family != "scaffold":
        raise TypeError(f"expected a scaffold, cell or core config, got {type(config).__name__}")
    return config


def expert_of_core(core: Node) -> Node:
    """A core in the scaffold that its built-in cell uses; in a pass-through for cores of users."""
    for cell in BUILT_IN.values():
        if type(core) is type(cell().core):
            return cell(core=core).to_scaffold()
    return PassThroughScaffoldConfig(core=core)


def _built_in_registry() -> Registry:
    registry = Registry()
    for name, cell in BUILT_IN.items():
        expert = marked(cell().to_scaffold(), token=name)
        registry._entries[name] = TokenInfo(name, expert, True)
        variant, changed = axonified(expert, name + "^")
        if changed:
            registry._entries[name + "^"] = TokenInfo(name + "^", variant, True)
    return registry


_DEFAULT: list[Registry] = []


def default_registry() -> Registry:
    """The registry that `parse` uses when none is given; built at the first use."""
    if not _DEFAULT:
        _DEFAULT.append(_built_in_registry())
    return _DEFAULT[0]


def register_token(name: str, *, registry: Registry | None = None) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Decorator: the function returns the config that `name` stands for.

    `Y^` is derived from `Y` where its core has Axon projections, unless `Y^` is registered by that exact string.
    """

    def register(builder: Callable[[], Any]) -> Callable[[], Any]:
        (registry or default_registry()).add(name, builder())
        return builder

    return register


def tokens(registry: Registry | None = None) -> tuple[TokenInfo, ...]:
    """All tokens, built-in ones first."""
    return (registry or default_registry()).infos()

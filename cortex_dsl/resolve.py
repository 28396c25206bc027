"""`resolve`: every size inferred from `d_hidden` downwards, and every complaint at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .checks import Problem, check_core, check_tissue, nearest_widths
from .diagnostics import CortexSpecError, Diagnostic, Fix
from .labels import place_of, token_of
from .quiet_gc import collector_paused
from .spec.base import Node, filled, span_of, value_place
from .spec.cores import AxonCoreConfig, CoreConfig, XLCoreConfig
from .spec.scaffolds import ColumnScaffoldConfig, RouterConfig
from .spec.stack import CortexStackConfig, RoutedAdapterConfig
from .spec.tissue import TissueScaffoldConfig

MAX_DEPTH = 64


def resolve(spec: CortexStackConfig, d_hidden: int | None = None) -> CortexStackConfig:
    """The spec with every size filled in; raises `CortexSpecError` with all that is wrong.

    `d_hidden` is used where the spec leaves it open; a different one in the spec is an error.
    """
    resolved, problems = try_resolve(spec, d_hidden)
    if problems:
        raise CortexSpecError(problems)
    return resolved


def try_resolve(spec: CortexStackConfig, d_hidden: int | None = None) -> tuple[CortexStackConfig, list[Diagnostic]]:
    """`resolve` without the exception: what could be resolved, and the complaints."""
    resolver = _Resolver()
    width = d_hidden if spec.d_hidden is None else spec.d_hidden
    at = _At(span=span_of(spec))
    if d_hidden is not None and d_hidden != width:
        resolver.complain("E508", at, f"d_hidden {d_hidden} was asked for, but the stack says d_hidden={width}")
    if width is None:
        help_ = "add `with d_hidden=256` to the pattern, or pass `d_hidden=`"
        resolver.complain("E501", at, "the stack has no `d_hidden`", help=help_)
        return spec, resolver.problems
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        resolver.complain("E501", at, f"d_hidden must be a positive int, got {width!r}")
        return spec, resolver.problems
    with collector_paused():
        resolved = resolver.stack(spec, width, at)
    if any(problem.code == "E502" for problem in resolver.problems):
        return resolved, _with_width(spec, width, resolver.problems)
    return resolved, resolver.problems


def _with_width(spec: CortexStackConfig, width: int, problems: list[Diagnostic]) -> list[Diagnostic]:
    """The complaints about widths with the nearest `d_hidden` that suits the whole stack, as a fix of the text."""
    at = value_place(spec, "d_hidden")
    good = _suiting(spec, width)
    if good is None:
        return problems
    fix = Fix(at, str(good)) if at else None
    help_ = f"the nearest `d_hidden` that suits the whole stack is {good}"
    return [replace(p, help=help_, fix=fix) if p.code == "E502" else p for p in problems]


def _suiting(spec: CortexStackConfig, width: int, reach: int = 512) -> int | None:
    """The nearest `d_hidden` at which no width is wrong; the larger of two."""
    layers = list({id(layer): layer for layer in spec.scaffolds}.values())
    for distance in range(1, reach):
        for d_hidden in (width + distance, width - distance):
            trial = _Resolver(stop_early=True)
            if d_hidden > 0:
                try:
                    trial.stack(filled(spec, scaffolds=tuple(layers)), d_hidden, _At())
                except _Unsuited as refusal:
                    # Who refused once is asked first from now on, so that a long stack is not walked for each trial.
                    layers.insert(0, layers.pop(int(str(refusal).split("]")[0].removeprefix("scaffolds["))))
                    continue
                return d_hidden
    return None


class _Unsuited(Exception):
    """A trial width is wrong somewhere: no need to look further."""


@dataclass(frozen=True)
class _At:
    """Where the resolver is, in words and as a path."""

    words: str = ""
    path: str = ""
    span: Any = None
    depth: int = 0
    # How the width came about: (factor, d_hidden) under a pre-up scaffold, to suggest a d_hidden that works.
    factor: float | None = None

    def within(self, words: str, path: str, node: Node) -> _At:
        joined = ", ".join(w for w in (self.words, words) if w)
        full = f"{self.path}.{path}" if self.path else path
        return _At(joined, full, span_of(node) or self.span, self.depth + 1)


@dataclass
class _Resolver:
    problems: list[Diagnostic] = field(default_factory=list)
    stop_early: bool = False
    _seen: dict[tuple[int, int], tuple[Any, Any]] = field(default_factory=dict)

    def complain(self, code: str, at: _At, what: str, label: str = "", **more: Any) -> None:
        if self.stop_early and code in ("E502", "E509"):
            raise _Unsuited(at.path)
        message = f"{at.words}: {what}" if at.words else what
        path = at.path or "stack"
        self.problems.append(Diagnostic(code, message, at.span, label or what, path=path, **more))

    def stack(self, spec: CortexStackConfig, width: int, at: _At) -> CortexStackConfig:
        if not spec.scaffolds:
            self.complain("E504", at, "a stack needs at least one layer")
        prefix = at.words and "inner "
        layers = tuple(
            self.cached(layer, width, at.within(f"{prefix}layer {i + 1}", f"scaffolds[{i}]", layer))
            for i, layer in enumerate(spec.scaffolds)
        )
        changes: dict[str, Any] = {"d_hidden": width, "scaffolds": layers}
        adapter = spec.routed_adapter
        if isinstance(adapter, RoutedAdapterConfig) and adapter.alpha is None:
            changes["routed_adapter"] = filled(adapter, alpha=float(adapter.rank))
        return filled(spec, **changes)

    def cached(self, layer: Node, width: int, at: _At) -> Node:
        # `AXMS x1000` holds one object a thousand times. One that is wrong is walked each time, to name its places.
        key = (id(layer), width)
        if key not in self._seen:
            before = len(self.problems)
            resolved = self.scaffold(layer, width, at)
            if len(self.problems) > before:
                return resolved
            self._seen[key] = (layer, resolved)
        return self._seen[key][1]

    def scaffold(self, node: Node, width: int, at: _At) -> Node:
        if at.depth > MAX_DEPTH:
            self.complain("E602", at, f"nested deeper than {MAX_DEPTH} levels")
            return node
        if isinstance(node, ColumnScaffoldConfig):
            return self.column(node, width, at)
        if isinstance(node, TissueScaffoldConfig):
            for code, what in check_tissue(node.tissue):
                self.complain(code, at, what)
            return node
        if "scaffold" in type(node).model_fields:
            inner = node.scaffold  # type: ignore[attr-defined]
            return filled(node, scaffold=self.scaffold(inner, width, replace(at, path=f"{at.path}.scaffold")))
        return self.holder(node, width, at)

    def column(self, node: ColumnScaffoldConfig, width: int, at: _At) -> Node:
        count = len(node.experts)
        if count == 0:
            self.complain("E504", at, "a column needs at least one expert")
        experts = []
        for i, expert in enumerate(node.experts):
            token = "column" if isinstance(expert, ColumnScaffoldConfig) else token_of(expert)
            words = f"expert {token}{place_of(expert)}" if span_of(expert) else f"expert {i + 1} ({token})"
            experts.append(self.cached(expert, width, at.within(words, f"experts[{i}]", expert)))
        return filled(node, experts=tuple(experts), router=self.router(node.router, count, width, at))

    def router(self, node: RouterConfig, count: int, width: int, at: _At) -> RouterConfig:
        if node.top_k is not None and count and node.top_k > count:
            what = f"top_k {node.top_k} is more than the {count} experts of this column"
            value = value_place(node, "top_k")
            fix = Fix(value, str(count)) if value else None
            where = replace(at, path=f"{at.path}.router", span=value or at.span)
            self.complain("E505", where, what, f"at most {count}", help=f"use top_k={count} or less", fix=fix)
        key = (id(node), width)
        if key not in self._seen:
            d_key = node.d_key or width
            self._seen[key] = (node, filled(node, d_key=d_key, d_key_local=node.d_key_local or d_key))
        return self._seen[key][1]

    def holder(self, node: Node, width: int, at: _At) -> Node:
        """A scaffold that holds a core directly."""
        core = getattr(node, "core", None)
        if core is None:
            name = type(node).__name__
            if "core" in type(node).model_fields:
                self.complain("E503", at, f"{name} has no core", help=f"give it one: `{name}(core=LSTMCoreConfig())`")
            return node
        inner = node.core_width(width) if hasattr(node, "core_width") else width
        at = replace(at, path=f"{at.path}.core", factor=getattr(node, "proj_factor", None) if inner != width else None)
        if inner < 1:
            self.complain("E509", at, f"int(proj_factor * d_hidden) is {inner}, a core needs a width of at least 1")
            return node
        if isinstance(core, CortexStackConfig):
            return filled(node, core=self.stack(core, inner, replace(at, depth=at.depth + 1)))
        return filled(node, core=self.core(core, inner, width, at))

    def core(self, core: CoreConfig, width: int, d_hidden: int, at: _At) -> CoreConfig:
        key = (id(core), width)  # one object in every `M` of a text
        if key in self._seen:
            return self._seen[key][1]
        sound = True
        for problem in check_core(core, width):
            sound = False
            notes = _about_factor(problem, at.factor, d_hidden, width)
            value = value_place(core, problem.option) if problem.option else None
            fix = Fix(value, problem.right) if value and problem.right else None
            where = replace(at, span=value or at.span)
            self.complain(problem.code, where, problem.text, problem.label, notes=notes, help=problem.help, fix=fix)
        changes: dict[str, Any] = {"hidden_size": width}
        if isinstance(core, AxonCoreConfig) and core.out_dim is None:
            changes["out_dim"] = width
        if isinstance(core, XLCoreConfig) and core.head_dim is None and width % core.n_heads == 0:
            changes["head_dim"] = width // core.n_heads
        resolved = filled(core, **changes)
        if sound:
            self._seen[key] = (core, resolved)
        return resolved


def _about_factor(problem: Problem, factor: float | None, d_hidden: int, width: int) -> tuple[str, ...]:
    """Under a pre-up scaffold: how the width came about, and which `d_hidden` would do."""
    works = problem.works
    if factor is None or works is None:
        return ()
    good = nearest_widths(d_hidden, lambda d: works(int(factor * d)))
    return (
        f"the width is int(proj_factor * d_hidden) = int({factor} * {d_hidden}) = {width}",
        f"nearest d_hidden: {', '.join(map(str, good))}",
    )


__all__ = ["resolve", "try_resolve"]

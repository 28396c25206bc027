"""Text to spec: `parse`, `check`, `parse_ast`."""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from . import ast
from .diagnostics import CortexSyntaxError, CortexWarning, Diagnostic
from .lower import Lowering
from .parser import Reading
from .quiet_gc import collector_paused
from .recipes import recipe_text
from .registry import Registry, TokenInfo, default_registry
from .resolve import try_resolve
from .spans import Source
from .spec.stack import CortexStackConfig

Warnings = Literal["warn", "error", "ignore"]


def parse(
    text: str,
    *,
    source: str = "<pattern>",
    d_hidden: int | None = None,
    num_layers: int | None = None,
    registry: Registry | None = None,
    custom_map: Mapping[str, Any] | None = None,
    allow_import: bool = False,
    allow_include: bool = True,
    warnings: Warnings = "warn",
) -> CortexStackConfig:
    """The spec that a text stands for, its sizes still open (`resolve` fills them).

    The text is a pattern, a whole file, or `recipe:NAME`. Raises `CortexSyntaxError` with every complaint. `d_hidden`
    is used where the text has no `with d_hidden=...`.
    """
    spec, found = read(
        text,
        source=source,
        d_hidden=d_hidden,
        num_layers=num_layers,
        registry=registry,
        custom_map=custom_map,
        allow_import=allow_import,
        allow_include=allow_include,
    )
    errors = [d for d in found if d.severity == "error" or warnings == "error"]
    if errors or spec is None:
        raise CortexSyntaxError(errors)
    if warnings == "warn":
        for diagnostic in found:
            python_warnings.warn(diagnostic.render(), CortexWarning, stacklevel=2)
    return spec


def read(
    text: str,
    *,
    source: str = "<pattern>",
    d_hidden: int | None = None,
    num_layers: int | None = None,
    registry: Registry | None = None,
    custom_map: Mapping[str, Any] | None = None,
    allow_import: bool = False,
    allow_include: bool = True,
) -> tuple[CortexStackConfig | None, list[Diagnostic]]:
    """`parse` without exceptions: the spec if there is one, and every complaint, in order."""
    with collector_paused():
        return _read(text, source, d_hidden, num_layers, registry, custom_map, allow_import, allow_include)


def _read(
    text: str,
    source: str,
    d_hidden: int | None,
    num_layers: int | None,
    registry: Registry | None,
    custom_map: Mapping[str, Any] | None,
    allow_import: bool,
    allow_include: bool,
) -> tuple[CortexStackConfig | None, list[Diagnostic]]:
    try:
        reading = Reading(recipe_text(Source(source, text)))
    except CortexSyntaxError as error:
        return None, list(error.diagnostics)
    tree = reading.program()
    if tree is None:
        return None, reading.diagnostics
    known = (registry or default_registry()).extended(custom_map)
    lowering = Lowering(known, load=load_file if allow_include else None, allow_import=allow_import)
    spec = lowering.program(tree, num_layers)
    found = reading.diagnostics + lowering.complaints.found
    if len(found) > 1:
        # Where something else is wrong, the missing layers are its consequence.
        found = [d for d in found if d.code != "E100"]
    if spec is None and not found:
        found = [Diagnostic("E100", "there are no layers")]
    if spec is not None and d_hidden is not None and spec.d_hidden is None:
        spec = spec.model_copy(update={"d_hidden": d_hidden})
    return spec, _in_order(found)


def check(text: str, **options: Any) -> list[Diagnostic]:
    """Every complaint and warning about a text, of its sizes too if it has a `d_hidden`. Options as for `read`."""
    spec, found = read(text, **options)
    if spec is not None and spec.d_hidden is not None and not any(d.severity == "error" for d in found):
        found += try_resolve(spec)[1]
    return found


def names_of(
    text: str, *, source: str = "<pattern>", registry: Registry | None = None, allow_import: bool = False
) -> tuple[TokenInfo, ...]:
    """The tokens that a text may use: the known ones, and the experts it defines, as far as it can be read."""
    reading = Reading(Source(source, text))
    tree = reading.program()
    known = (registry or default_registry()).extended(None)
    if tree is not None:
        lowering = Lowering(known, load=load_file, allow_import=allow_import)
        lowering.program(tree)
        definitions = lowering.experts.definitions.items()
        own = tuple(TokenInfo(n, d.value, False) for n, d in definitions if d.what == "cell")
        return (*known.infos(), *own)
    return known.infos()


def parse_ast(text: str, *, source: str = "<pattern>") -> ast.Program:
    """The tree of a text, before names mean anything; `.pretty()` prints it."""
    reading = Reading(recipe_text(Source(source, text)))
    tree = reading.program()
    if tree is None or reading.diagnostics:
        raise CortexSyntaxError(_in_order(reading.diagnostics))
    return tree


def load_file(path: str, including: str) -> tuple[str, str]:
    """An included file, found beside the file that includes it."""
    base = Path(including).parent if not including.startswith("<") else Path()
    full = (base / path).resolve()
    return str(full), full.read_text(encoding="utf-8")


def _in_order(found: list[Diagnostic]) -> list[Diagnostic]:
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda d: d.span.start if d.span else -1)

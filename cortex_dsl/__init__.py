"""The pattern language and the configs it stands for. Imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .api import check, names_of, parse, parse_ast, read
from .diagnostics import CortexSpecError, CortexSyntaxError, CortexWarning, Diagnostic, Fix, render_all
from .expand import Entry, expand
from .format import format_spec
from .format_text import format_text
from .labels import layer_paths, token_of
from .recipes import RECIPES, Recipe, recipe_text, recipes
from .registry import Registry, TokenInfo, default_registry, register_token, tokens
from .resolve import resolve, try_resolve
from .sets import apply_overrides
from .spans import Source, Span
from .spec import *  # noqa: F403
from .spec import __all__ as _spec_names

if TYPE_CHECKING:
    from .builders import build_column_auto_config, build_cortex_auto_config
    from .codes import CODES, explain
    from .draw import mermaid, tree

# Not needed to read a text: loaded at the first use, so that `cortexc check` does not wait for them.
_LATER = {
    "CODES": "codes",
    "build_column_auto_config": "builders",
    "build_cortex_auto_config": "builders",
    "explain": "codes",
    "mermaid": "draw",
    "tree": "draw",
}

__all__ = [
    "CODES",
    "RECIPES",
    "CortexSpecError",
    "CortexSyntaxError",
    "CortexWarning",
    "Diagnostic",
    "Entry",
    "Fix",
    "Recipe",
    "Registry",
    "Source",
    "Span",
    "TokenInfo",
    "apply_overrides",
    "build_column_auto_config",
    "build_cortex_auto_config",
    "check",
    "default_registry",
    "expand",
    "explain",
    "format_spec",
    "format_text",
    "layer_paths",
    "mermaid",
    "names_of",
    "parse",
    "parse_ast",
    "read",
    "recipe_text",
    "recipes",
    "register_token",
    "render_all",
    "resolve",
    "token_of",
    "tokens",
    "tree",
    "try_resolve",
    *_spec_names,
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)

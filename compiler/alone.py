"""One core or scaffold compiled by itself. It travels as a stack that holds nothing else, and a word for what is meant.

A core alone keeps its parameters and its state at the top level; its ``hidden_size`` is the width of x.
"""

from __future__ import annotations

from typing import Any

from ..cortex_dsl import (
    AxonCoreConfig,
    CortexSpecError,
    CortexStackConfig,
    PassThroughScaffoldConfig,
    format_spec,
    resolve,
    token_of,
)
from ..cortex_dsl.spec import Node

PARTS = ("stack", "scaffold", "core")


def as_stack(config: Node, d_hidden: int) -> tuple[CortexStackConfig, str]:
    """The stack around any config, and which part of it was given. Raises TypeError for what is no part of a stack."""
    if isinstance(config, CortexStackConfig):
        return config, "stack"
    if config.family == "cell":
        config = config.to_scaffold()  # type: ignore[attr-defined]
    if config.family == "scaffold":
        return CortexStackConfig(d_hidden=d_hidden, scaffolds=(config,), post_norm=False), "scaffold"
    if config.family == "core":
        width = config.hidden_size or d_hidden  # type: ignore[attr-defined]
        around = PassThroughScaffoldConfig(core=config, residual=False)
        return CortexStackConfig(d_hidden=width, scaffolds=(around,), post_norm=False), "core"
    name = type(config).__name__
    raise TypeError(f"{name} does not compile by itself; give the config of a stack, scaffold, cell or core")


def text_of(spec: CortexStackConfig) -> str:
    """What a stack is called: its canonical text, or its layers' labels where a user's config has no text form."""
    try:
        return format_spec(spec)
    except CortexSpecError:
        return " / ".join(token_of(layer) for layer in spec.scaffolds)


def part_of(spec: CortexStackConfig, part: str) -> Node:
    """The config that is meant by ``part``."""
    if part == "stack":
        return spec
    found: Any = spec.scaffolds[0]
    return found.core if part == "core" else found


def resolved(spec: CortexStackConfig, part: str) -> CortexStackConfig:
    """``resolve``, in which a core alone may have an output of another width than its input."""
    core: Any = part_of(spec, part)
    if part != "core" or not isinstance(core, AxonCoreConfig) or core.out_dim is None:
        return resolve(spec)
    inner = resolve(_with_core(spec, core.model_copy(update={"out_dim": None})))
    return _with_core(inner, part_of(inner, part).model_copy(update={"out_dim": core.out_dim}))


def _with_core(spec: CortexStackConfig, core: Node) -> CortexStackConfig:
    around: Any = spec.scaffolds[0]
    return spec.model_copy(update={"scaffolds": (around.model_copy(update={"core": core}),)})

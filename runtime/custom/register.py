"""`register_core`, `register_scaffold`: from then on a config stands for your module, everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from ...compiler.library import foreign
from ...cortex_dsl import CoreConfig, ScaffoldConfig
from ...cortex_dsl.spec.cores import BUILT_IN_CORES
from ...cortex_dsl.spec.scaffolds import BUILT_IN_SCAFFOLDS
from .core import MemoryCore
from .describe import describe, make
from .part import StatefulPart
from .scaffold import BaseScaffold

C = TypeVar("C", bound=type[MemoryCore])
S = TypeVar("S", bound=type[BaseScaffold])

_TAKEN: dict[type, type[nn.Module]] = {}


def register_core(config: type[CoreConfig]) -> Callable[[C], C]:
    """Class decorator: ``config``, a subclass of CoreConfig, stands for this MemoryCore in patterns, configs, builders
    and on every backend. The module is made as ``Core(cfg)``, with ``cfg.hidden_size`` filled in.

    Raises TypeError for what is no CoreConfig or no MemoryCore, for a core without ``init_state`` or ``forward``, and
    for a config that already stands for another class."""
    return _registrar("register_core", config, CoreConfig, MemoryCore, BUILT_IN_CORES, ("init_state", "forward"))


def register_scaffold(config: type[ScaffoldConfig]) -> Callable[[S], S]:
    """Class decorator: as :func:`register_core`, for a subclass of ScaffoldConfig and a BaseScaffold, which is made as
    ``Scaffold(cfg, d_hidden)``."""
    return _registrar("register_scaffold", config, ScaffoldConfig, BaseScaffold, BUILT_IN_SCAFFOLDS, ("forward",))


def _registrar(
    what: str,
    config: type,
    config_base: type,
    base: type[StatefulPart],
    built_in: tuple[type, ...],
    needed: tuple[str, ...],
) -> Callable[[Any], Any]:
    if not (isinstance(config, type) and issubclass(config, config_base)):
        got = config.__name__ if isinstance(config, type) else repr(config)
        raise TypeError(f"{what}({got}): expected a subclass of {config_base.__name__}, the class itself")
    if config in built_in or config is config_base:
        raise TypeError(f"{what}({config.__name__}): this config is built in; subclass {config_base.__name__} instead")

    def register(cls: Any) -> Any:
        _check_class(f"@{what}({config.__name__})", cls, base, needed)
        old = _TAKEN.get(config)
        if old is not None and (old.__module__, old.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"{config.__name__} already stands for {old.__module__}.{old.__qualname__}; give {cls.__qualname__} a "
                "config of its own"
            )
        _TAKEN[config] = cls  # a class defined again (a notebook cell run twice) replaces itself
        part = foreign.ForeignPart(
            cls.__name__,
            cls.__module__,
            lambda cfg, width: describe(cls, cfg, width),
            lambda cfg, width, **how: make(cls, cfg, width, **how),
        )
        foreign.register(config, part)
        return cls

    return register


def _check_class(what: str, cls: object, base: type[StatefulPart], needed: tuple[str, ...]) -> None:
    if not (isinstance(cls, type) and issubclass(cls, base)):
        name = cls.__name__ if isinstance(cls, type) else repr(cls)
        raise TypeError(f"{what} on {name}: expected a subclass of {base.__name__}")
    for method in needed:
        if getattr(cls, method) is getattr(base, method):
            raise TypeError(f"{what} on {cls.__name__}: it has no {method}, which every {base.__name__} needs")

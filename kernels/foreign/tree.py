"""A TensorDict as leaves by path, and back. A path is written with ``/`` between levels: ``mycore/proj/hc1``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from tensordict import TensorDict, TensorDictBase
from torch import Tensor


def leaves_of(state: TensorDictBase) -> dict[str, Tensor]:
    """Every tensor of a nested state, by its path."""
    items = state.items(include_nested=True, leaves_only=True)
    return {"/".join(key if isinstance(key, tuple) else (key,)): cast(Tensor, leaf) for key, leaf in items}


def packed(leaves: Iterable[tuple[str, Tensor]], batch: int) -> TensorDict:
    """A nested state ``[batch]`` from leaves by path."""
    state = empty(batch)
    for path, leaf in leaves:
        *levels, key = path.split("/")
        level: TensorDictBase = state
        for name in levels:
            if level.get(name, None) is None:
                level.set(name, empty(batch))
            level = level.get(name)
        level.set(key, leaf)
    return state


def empty(batch: int) -> TensorDict:
    return TensorDict({}, batch_size=[batch])


def structure(state: TensorDictBase) -> TensorDictBase:
    """A copy of the dicts with the same tensors: what is set in it does not reach the original."""
    return state.clone(recurse=False)

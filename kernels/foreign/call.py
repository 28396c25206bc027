"""Call a module of the user's own from generated code: leaves in, leaves out, and a check on what it returned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from ..lanes import lanes
from .tree import leaves_of, packed


class CortexPartError(TypeError):
    """A part that a user wrote does not keep the contract: the message names its class and what it did."""


# torch.compile takes a module with loops apart, step by step: it stays what it is, and the graph breaks around it.
@torch.compiler.disable
def foreign(
    module: nn.Module, x: Tensor, leaves: Sequence[Tensor], resets: Tensor | None, *, keys: Sequence[str]
) -> tuple[Tensor, ...]:
    """``(y, *next leaves)`` of ``y, state = module(x, state, resets=resets)``.

    x: ``[B, T, H]`` or ``[B, H]``. leaves: the state in the order of ``keys``, which are paths with ``/`` between
    levels. The module gets a fresh TensorDict, so that nothing it sets reaches the caller's. Raises CortexPartError
    when y or the state comes back with another shape or other keys."""
    state = packed(zip(keys, leaves, strict=True), x.shape[0])
    with lanes(None):  # a stack inside has no lanes of its own: it may stand in one
        returned = module(x, state, resets=resets)
    name = type(module).__name__
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise CortexPartError(f"{name}.forward returned {_kind(returned)}; expected (y, state)")
    y, after = returned
    if not isinstance(y, Tensor) or y.shape != x.shape:
        got = f"shape {list(y.shape)}" if isinstance(y, Tensor) else f"type {type(y).__name__}"
        raise CortexPartError(f"{name}.forward returned y of {got}; expected {list(x.shape)}, the shape of x")
    return (y, *_leaves(name, after, dict(zip(keys, leaves, strict=True))))


def _leaves(name: str, state: object, before: dict[str, Tensor]) -> list[Tensor]:
    """The leaves of a returned state, which must be those that went in: the same keys, shapes and kinds."""
    if state is None and not before:
        return []
    if not isinstance(state, TensorDictBase):
        raise CortexPartError(f"{name}.forward returned a state of type {type(state).__name__}; expected a TensorDict")
    found = leaves_of(state)
    if found.keys() != before.keys():
        missing, surplus = sorted(before.keys() - found.keys()), sorted(found.keys() - before.keys())
        parts = [f"without {', '.join(missing)}"] if missing else []
        parts += [f"with {', '.join(surplus)} beside it"] if surplus else []
        raise CortexPartError(
            f"{name}.forward returned a state {' and '.join(parts)}; init_state says it holds "
            f"{', '.join(sorted(before)) or 'nothing'}, and every call returns that"
        )
    return [_checked(name, key, found[key], leaf) for key, leaf in before.items()]


def _checked(name: str, key: str, leaf: Tensor, before: Tensor) -> Tensor:
    if leaf.shape != before.shape:
        raise CortexPartError(
            f"{name}.forward returned {key} of shape {list(leaf.shape)}; init_state says {list(before.shape)}"
        )
    if leaf.dtype == before.dtype:
        return leaf
    if leaf.is_floating_point() and before.is_floating_point():
        return leaf.to(before.dtype)  # what is carried keeps its precision under autocast
    raise CortexPartError(f"{name}.forward returned {key} as {leaf.dtype}; init_state says {before.dtype}")


def _kind(value: object) -> str:
    return f"{len(value)} values" if isinstance(value, tuple) else f"one {type(value).__name__}"

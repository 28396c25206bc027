"""The state: a flat tuple of tensors inside, a nested TensorDict outside.

The layout's paths are the keys: ``("ColumnScaffold_0", "expert_PostUpGatedScaffold_0", "AxonCore", "hc1")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from ..kernels.dropout import births, ended
from .errors import CortexStateError

Leaves = tuple[Tensor, ...]


class StateLayout:
    """Where every leaf stands and how it starts. Knows nothing of what the leaves mean, but that a leaf of kind
    "episode" starts with a birth of each row's own, and that a reset leads to the next episode (kernels/dropout)."""

    def __init__(self, states: Sequence[dict[str, Any]]) -> None:
        self.paths = [tuple(s["path"]) for s in states]
        self.shapes = [tuple(s["shape"]) for s in states]
        self.kinds = [s["dtype"] for s in states]
        self.starts = [s["start"] for s in states]
        self.tree: dict[str, Any] = {}
        for index, path in enumerate(self.paths):
            level = self.tree
            for key in path[:-1]:
                level = level.setdefault(key, {})
            level[path[-1]] = index
        # TensorDict 0.14 keeps a list of the types it has met, and a graph guards on its length: the type of
        # leaves must be on it before the first graph, or that one is traced again.
        TensorDict({"leaf": torch.empty(0)}).is_empty()

    def initial(
        self, batch: int, device: torch.device | str, dtype: torch.dtype, dropout_seed: int | None = None
    ) -> Leaves:
        """Fresh leaves ``[batch, …]``. Accumulators are float32, or float64 for a float64 model; counters int64. The
        births of rows are drawn from torch's generator, or follow from ``dropout_seed``."""
        return tuple(
            births(batch, index, dropout_seed, device)
            if kind == "episode"
            else torch.full((batch, *shape), start, device=device, dtype=self._dtype(kind, dtype))
            for index, (shape, kind, start) in enumerate(zip(self.shapes, self.kinds, self.starts, strict=True))
        )

    @staticmethod
    def _dtype(kind: str, dtype: torch.dtype) -> torch.dtype:
        if kind == "acc":
            return torch.float64 if dtype == torch.float64 else torch.float32
        return {"i64": torch.int64, "episode": torch.int64, "bool": torch.bool}.get(kind, dtype)

    def pack(self, leaves: Leaves, batch: int) -> TensorDict:
        """Leaves -> nested TensorDict with ``batch_size [batch]``."""
        return self._pack(self.tree, leaves, torch.Size([batch]))

    def _pack(self, tree: dict[str, Any], leaves: Leaves, batch: torch.Size) -> TensorDict:
        found = {
            key: self._pack(sub, leaves, batch) if isinstance(sub, dict) else leaves[sub] for key, sub in tree.items()
        }
        return TensorDict(found, batch_size=batch)

    def unpack(self, state: TensorDict, batch: int, device: torch.device, dtype: torch.dtype) -> Leaves:
        """Nested TensorDict -> leaves, after checking that it is a state of this stack. Raises CortexStateError."""
        if not isinstance(state, TensorDict):
            raise CortexStateError(
                f"state is a {type(state).__name__}; expected a TensorDict as this stack returns it (or None to start)"
            )
        leaves: list[Tensor | None] = [None] * len(self.paths)
        self._collect(state, self.tree, (), leaves)
        dtypes = {kind: self._dtype(kind, dtype) for kind in set(self.kinds)}
        for index, leaf in enumerate(leaves):
            assert leaf is not None
            expected = (batch, *self.shapes[index])
            if tuple(leaf.shape) != expected:
                raise CortexStateError(
                    f"state {self._name(index)} has shape {list(leaf.shape)}; this call needs {list(expected)}"
                    + self._batch_hint(leaf, expected)
                )
            if leaf.device != device:
                raise CortexStateError(
                    f"state {self._name(index)} is on {leaf.device}, x on {device}; "
                    f"move it with state.to({str(device)!r})"
                )
            wanted = dtypes[self.kinds[index]]
            if leaf.dtype != wanted and (self.kinds[index] != "f" or not leaf.is_floating_point()):
                raise CortexStateError(f"state {self._name(index)} is {leaf.dtype}; expected {wanted}")
        return tuple(leaves)  # type: ignore[arg-type]

    def _collect(self, state: TensorDict, tree: dict[str, Any], path: tuple[str, ...], leaves: list[Any]) -> None:
        found: dict[Any, Any] = dict(state.items())
        keys = set(found)
        wanted = set(tree)  # a set on both sides: what torch.compile of every version can compare
        if keys != wanted:
            self._refuse(sorted(wanted - keys), sorted(map(str, keys - wanted)), path)
        for key, sub in tree.items():
            value = found[key]
            nested = not isinstance(value, Tensor)
            if nested != isinstance(sub, dict):
                kind = "a nested state" if nested else "a tensor"
                raise CortexStateError(f"state {'/'.join((*path, key))} is {kind}; it comes from another stack")
            if nested:
                self._collect(value, sub, (*path, key), leaves)
            else:
                leaves[sub] = value

    @staticmethod
    def _refuse(missing: list[str], surplus: list[str], path: tuple[str, ...]) -> None:
        where = "/".join(path) or "the top level"
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"surplus {', '.join(map(str, surplus))}"] if surplus else []
        raise CortexStateError(
            f"this state belongs to another stack: at {where}, {' and '.join(parts)}; "
            "pass a state that this stack returned, or None to start afresh"
        )

    def _name(self, index: int) -> str:
        return "/".join(self.paths[index])

    @staticmethod
    def _batch_hint(leaf: Tensor, expected: tuple[int, ...]) -> str:
        if leaf.dim() == len(expected) and leaf.shape[1:] == torch.Size(expected[1:]):
            return f" (the state has {leaf.shape[0]} rows, x has {expected[0]})"
        return ""

    def reset(self, leaves: Leaves, mask: Tensor) -> Leaves:
        """What a reset makes of every row where ``mask [B]`` is true: the starting value, or the next episode."""
        return tuple(
            torch.where(
                mask.view(-1, *[1] * (leaf.dim() - 1)),
                ended(leaf) if kind == "episode" else leaf.new_full((), start),
                leaf,
            )
            for leaf, kind, start in zip(leaves, self.kinds, self.starts, strict=True)
        )

"""Where the parameters of a module stand, found once, so that every later look costs a few microseconds.

`nn.Module.parameters()` walks the whole tree, which for a deep stack takes longer than a step on a GPU.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Sites:
    """The tree as it stood when this was made."""

    def __init__(self, root: nn.Module) -> None:
        self._children: list[tuple[dict[str, Any], str, nn.Module]] = []
        self._tables: list[tuple[dict[str, Any], int]] = []
        self._params: list[tuple[dict[str, Any], str]] = []
        self._buffers: list[tuple[dict[str, Any], str]] = []
        seen: set[int] = set()
        for module in root.modules():
            self._children += [(module._modules, name, m) for name, m in module._modules.items() if m is not None]
            for table, places in ((module._parameters, self._params), (module._buffers, self._buffers)):
                self._tables.append((table, len(table)))
                for name, tensor in table.items():
                    if tensor is not None and id(tensor) not in seen:
                        seen.add(id(tensor))
                        places.append((table, name))

    def tensors(self) -> tuple[list[Tensor], list[Tensor]] | None:
        """The parameters and the buffers that now stand there, in the order of `nn.Module.parameters()`; None if the
        tree is another one by now."""
        if any(table.get(name) is not m for table, name, m in self._children):
            return None
        if any(len(table) != count for table, count in self._tables):
            return None
        params = [table.get(name) for table, name in self._params]
        buffers = [table.get(name) for table, name in self._buffers]
        if any(t is None for t in params) or any(t is None for t in buffers):
            return None
        return params, buffers  # type: ignore[return-value]

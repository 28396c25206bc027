"""Where the parameters of a module stand, found once, so that every later look costs a few microseconds.

`nn.Module.parameters()` walks the whole tree, which for a deep stack takes longer than a step on a GPU.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Sites:
    """The tree as it stood when this was made. What is asked at every call is asked of all places by one `map`."""

    def __init__(self, root: nn.Module) -> None:
        tables: list[dict[str, Any]] = []
        self._children = _Places()
        self._params, self._buffers = _Places(), _Places()
        seen: set[int] = set()
        for module in root.modules():
            for name, child in module._modules.items():
                if child is not None:
                    self._children.add(module._modules, name)
            for table, places in ((module._parameters, self._params), (module._buffers, self._buffers)):
                tables.append(table)
                for name, tensor in table.items():
                    if tensor is not None and id(tensor) not in seen:
                        seen.add(id(tensor))
                        places.add(table, name)
        self._modules = self._children.look()  # held, so that no other module gets the id of one
        self._ids = list(map(id, self._modules))
        self._tables, self._counts = tables, list(map(len, tables))

    def tensors(self) -> tuple[list[Tensor], list[Tensor]] | None:
        """The parameters and the buffers that now stand there, in the order of `nn.Module.parameters()`; None if the
        tree is another one by now."""
        if list(map(id, self._children.look())) != self._ids or list(map(len, self._tables)) != self._counts:
            return None
        params, buffers = self._params.look(), self._buffers.look()
        if type(None) in set(map(type, (*params, *buffers))):
            return None
        return params, buffers


class _Places:
    """Entries of tables."""

    def __init__(self) -> None:
        self._tables: list[dict[str, Any]] = []
        self._names: list[str] = []

    def add(self, table: dict[str, Any], name: str) -> None:
        self._tables.append(table)
        self._names.append(name)

    def look(self) -> list[Any]:
        """What stands there now; None where nothing does."""
        return list(map(dict.get, self._tables, self._names))

"""The parameter tree as plain objects, for generated code to read.

`nn.Module` looks an attribute up in three tables, in Python: the five hundred paths that one step of a deep stack reads
cost a millisecond. A mirror has ordinary attributes, and is asked at every call whether it still shows the tree.
"""

from __future__ import annotations

from collections.abc import ValuesView
from itertools import chain
from typing import Any

from torch import nn

from .params import Group


class Mirror:
    """Of one tree: groups and lists become plain objects, tensors and the modules of users are the same objects."""

    def __init__(self) -> None:
        self._tables: list[ValuesView[Any]] = []
        self._shown: list[int] | None = None
        self._seen: list[int] | None = None
        self._held: list[Any] = []  # what is shown stays alive, so that no other object gets its id
        self._image: Any = None

    def of(self, root: nn.Module) -> Any:
        """What stands for ``root`` in generated code: its image, or itself while the tree is another one.

        A tree that was swapped for one call, as `torch.func.functional_call` does, is not worth an image: a new one is
        made when the same change is seen twice.
        """
        found = self._ids()
        if found != self._shown:
            if found != self._seen:
                self._seen = found
                return root
            self._tables = []
            _collect(root, self._tables)
            self._held = list(chain.from_iterable(self._tables))
            self._image = _Level(root)
            self._shown = self._ids()
        return self._image

    def _ids(self) -> list[int]:
        return list(map(id, chain.from_iterable(self._tables)))


class _Level:
    """One group of the tree. What is no parameter, buffer or group (``training``) is asked of the group itself."""

    def __init__(self, module: nn.Module) -> None:
        self.__dict__.update(module._parameters | module._buffers)
        self.__dict__.update({name: _image(child) for name, child in module._modules.items()})
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _image(module: nn.Module | None) -> Any:
    if isinstance(module, nn.ModuleList):
        return [_image(child) for child in module]
    return _Level(module) if isinstance(module, Group) else module


def _collect(module: nn.Module, tables: list[ValuesView[Any]]) -> None:
    """What stands in every table that an image of the module is made from."""
    tables += (module._parameters.values(), module._buffers.values(), module._modules.values())
    for child in module._modules.values():
        if isinstance(child, (Group, nn.ModuleList)):
            _collect(child, tables)

"""The parameter tree: plain nn.Modules that follow the spec, the same names whatever the backend or the mode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..compiler.library import foreign
from ..cortex_dsl.spec import kinds
from ..kernels.pack import lay_out
from .init import start


class Group(nn.Module):
    """A level of the parameter tree. It holds names and computes nothing; the generated code reads it."""

    def forward(self, *args: object, **kwargs: object) -> None:
        raise RuntimeError("a group of parameters is not callable; call the stack")


def grow(root: nn.Module, layout: dict[str, Any], *, dtype: torch.dtype, device: torch.device | str) -> None:
    """Register every parameter of the layout under its path below ``root``, started by its rule. A layer without
    parameters is an empty group, so that numbers stay places."""
    for scope in layout["scopes"]:
        _descend(root, scope.split("."))
    for p in layout["params"]:
        if p["init"] == foreign.RULE:
            continue
        *scopes, leaf = p["path"].split(".")
        owner = _descend(root, scopes)
        kind = torch.int64 if p.get("dtype") == "i64" else dtype
        tensor = torch.empty(p["shape"], dtype=kind, device=device)
        start(tensor, p["init"], p["args"])
        if p["trainable"]:
            owner.register_parameter(leaf, nn.Parameter(tensor))
        else:
            owner.register_buffer(leaf, tensor)


def plant(
    root: nn.Module, layout: dict[str, Any], *, backend: str, dtype: torch.dtype, device: torch.device | str
) -> list[nn.Module]:
    """Make the modules of users that the layout names, hang them at their paths, and return them."""
    planted = []
    for entry in layout.get("foreign", ()):
        *scopes, leaf = entry["path"].split(".")
        _descend(root, (*scopes, leaf))  # so that numbers become lists
        config = kinds(entry["family"])[json.loads(entry["config"])["kind"]].model_validate_json(entry["config"])
        part = foreign.find(config)
        assert part is not None  # the package was read, and reading it imports what it needs
        module = part.make(config, entry["width"], backend=backend, dtype=dtype, device=device)
        _descend(root, scopes)._modules[leaf] = module
        planted.append(module)
    return planted


def _descend(root: nn.Module, scopes: Sequence[str]) -> nn.Module:
    """The module at a path, with all that is missing on the way."""
    owner = root
    for i, name in enumerate(scopes):
        if isinstance(owner, nn.ModuleList):
            owner.extend(Group() for _ in range(len(owner), int(name) + 1))
        elif name not in owner._modules:
            numbered = i + 1 < len(scopes) and scopes[i + 1].isdigit()
            owner.add_module(name, nn.ModuleList() if numbered else Group())
        found = owner._modules[name]
        assert found is not None
        owner = found
    return owner


def lay_out_packs(root: nn.Module, packs: Sequence[Sequence[str]]) -> None:
    """Put weights that one product reads side by side in memory, so that reading them together copies nothing."""
    params = dict(root.named_parameters(remove_duplicate=False))
    for group in packs:
        members = [params[name] for name in group if name in params]  # a parametrised weight is none
        if len(members) < len(group) or len({(m.dtype, m.device) for m in members}) > 1 or _together(members):
            continue
        lay_out(members)


def _together(members: Sequence[nn.Parameter]) -> bool:
    """Whether the members lie side by side already: moving them would take them out of shared memory."""
    first, ends = members[0].untyped_storage().data_ptr(), [m.storage_offset() + m.numel() for m in members]
    return all(
        m.untyped_storage().data_ptr() == first and m.storage_offset() == end
        for m, end in zip(members[1:], ends, strict=False)
    )

"""The parameter tree: plain nn.Modules that follow the spec, the same names whatever the backend or the mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..kernels.pack import lay_out
from .init import start


class Group(nn.Module):
    """A level of the parameter tree. It holds names and computes nothing; the generated code reads it."""

    def forward(self, *args: object, **kwargs: object) -> None:
        raise RuntimeError("a group of parameters is not callable; call the stack")


def grow(root: nn.Module, params: Sequence[dict[str, Any]], *, dtype: torch.dtype, device: torch.device | str) -> None:
    """Register every parameter of the layout under its path below ``root``, started by its rule."""
    for p in params:
        *scopes, leaf = p["path"].split(".")
        owner = root
        for i, name in enumerate(scopes):
            children = owner._modules
            if name not in children:
                numbered = i + 1 < len(scopes) and scopes[i + 1].isdigit()
                owner.add_module(name, nn.ModuleList() if numbered else Group())
            owner = children[name]  # type: ignore[assignment]
        tensor = torch.empty(p["shape"], dtype=dtype, device=device)
        start(tensor, p["init"], p["args"])
        if p["trainable"]:
            owner.register_parameter(leaf, nn.Parameter(tensor))
        else:
            owner.register_buffer(leaf, tensor)


def lay_out_packs(root: nn.Module, packs: Sequence[Sequence[str]]) -> None:
    """Put weights that one product reads side by side in memory, so that reading them together copies nothing."""
    params = dict(root.named_parameters())
    for group in packs:
        members = [params[name] for name in group]
        if len({(m.dtype, m.device) for m in members}) == 1:
            lay_out(members)

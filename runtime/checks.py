"""Checks on what a caller passes in, before any work is done."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import CortexInputError


def check_input(x: Tensor, width: int, dtype: torch.dtype, device: torch.device, *, step: bool = False) -> None:
    """``x`` is ``[B, T, width]`` or ``[B, width]`` in the dtype of the parameters (any float under autocast)."""
    if not isinstance(x, Tensor):
        raise CortexInputError(f"x is a {type(x).__name__}; expected a tensor [B, T, {width}] or [B, {width}]")
    shape = list(x.shape)
    if step and x.dim() != 2:
        raise CortexInputError(f"step takes x [B, {width}]; got shape {shape}" + _call_hint(x))
    if x.dim() not in (2, 3):
        raise CortexInputError(
            f"x has shape {shape}; expected [B, T, {width}] for a sequence or [B, {width}] for a step"
        )
    if x.shape[-1] != width:
        hint = "; did you mean x.transpose(1, 2)? (time before width)" if x.dim() == 3 and x.shape[1] == width else ""
        raise CortexInputError(f"x has width {x.shape[-1]}, this stack has d_hidden={width} (x shape {shape}){hint}")
    if x.dim() == 3 and x.shape[1] == 0:
        raise CortexInputError(f"x has no steps (shape {shape}); a sequence has at least one")
    if x.device != device:
        raise CortexInputError(f"x is on {x.device}, the parameters are on {device}; move one: x.to({str(device)!r})")
    if x.dtype != dtype and not (x.is_floating_point() and torch.is_autocast_enabled(x.device.type)):
        raise CortexInputError(
            f"x is {x.dtype}, the parameters are {dtype}; convert one: x.to({dtype}), or run under torch.autocast"
        )


def _call_hint(x: Tensor) -> str:
    return "; for a sequence [B, T, H] call the stack itself: stack(x, state)" if x.dim() == 3 else ""


def check_resets(resets: Tensor | None, x: Tensor) -> Tensor | None:
    """The mask as bool ``[B, T]`` for a sequence, ``[B]`` for a step.

    Accepts bool or 0/1 of any dtype: ``[B, T]`` or ``[B]`` (before the first step only) for a sequence, ``[B]`` or
    ``[B, 1]`` for a step."""
    if resets is None:
        return None
    if not isinstance(resets, Tensor):
        raise CortexInputError(f"resets is a {type(resets).__name__}; expected a bool tensor")
    batch = x.shape[0]
    sequence = x.dim() == 3
    allowed = [(batch, x.shape[1]), (batch,)] if sequence else [(batch,), (batch, 1)]
    # Size by size: a compiler with sizes that vary can compare these, and not tuples.
    if not any(len(a) == resets.dim() and all(m == n for m, n in zip(a, resets.shape, strict=True)) for a in allowed):
        wanted = " or ".join(str(list(a)) for a in allowed)
        raise CortexInputError(f"resets has shape {list(resets.shape)}; for x of shape {list(x.shape)} it is {wanted}")
    if resets.device != x.device:
        raise CortexInputError(f"resets is on {resets.device}, x on {x.device}; move it: resets.to({str(x.device)!r})")
    if resets.dtype != torch.bool:
        resets = _as_bool(resets)
    if not sequence:
        return resets.reshape(batch)
    if resets.dim() == 1:
        return torch.nn.functional.pad(resets[:, None], (0, x.shape[1] - 1))
    return resets


def _as_bool(resets: Tensor) -> Tensor:
    # Reading values on a GPU would wait for it, so only a mask on the CPU is checked for being 0 or 1.
    if resets.device.type == "cpu" and not torch.compiler.is_compiling():
        odd = resets[(resets != 0) & (resets != 1)]
        if odd.numel():
            raise CortexInputError(f"resets holds {odd[0].item()}; a mask is bool, or 0 and 1")
    return resets != 0

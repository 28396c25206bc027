"""The seed of dropout: where masks of fresh states are to be the same every time."""

from __future__ import annotations

from torch import nn

from .errors import CortexInputError
from .module import CompiledStack


def set_dropout_seed_(module: nn.Module, seed: int | None) -> None:
    """From now on fresh states of every compiled stack in ``module`` draw their dropout masks from ``seed``, the place
    in the stack and the number of the row: the same masks each time. None goes back to torch's generator.

    States that exist keep their masks. Copies and pickles keep the seed, a state dict does not hold it. Raises
    TypeError where there is no compiled stack, CortexInputError for a bad seed."""
    stacks = [m for m in module.modules() if isinstance(m, CompiledStack)] if isinstance(module, nn.Module) else []
    if not stacks:
        raise TypeError(f"set_dropout_seed_ takes a compiled stack or a module that holds one, not {_what(module)}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise CortexInputError(f"the seed of dropout is {seed!r}; expected an int, or None for torch's generator")
    for stack in stacks:
        stack.dropout_seed = seed


def _what(module: object) -> str:
    return f"a {type(module).__name__}" + (" without one" if isinstance(module, nn.Module) else "")

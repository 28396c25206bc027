"""Make a user's module, and ask it what it holds: parameters, leaves of the state, operations per token."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from ...compiler.library.foreign import Description, Leaf
from ...kernels.dropout import is_birth
from ...kernels.foreign import CortexPartError, leaves_of
from .building import building
from .core import MemoryCore
from .part import StatefulPart

ROWS = 2  # of the state that is asked for: enough to tell the batch axis
KINDS = {torch.int64: "i64", torch.bool: "bool"}
ASKED = (torch.float32, torch.bfloat16, torch.float64)
_KEY = re.compile(r"\w+")


def make(
    cls: type[StatefulPart],
    config: Any,
    width: int,
    *,
    backend: str,
    dtype: torch.dtype,
    device: torch.device | str,
) -> StatefulPart:
    """A module of the class for a width, its parameters in ``dtype`` on ``device``. Raises what its ``__init__``
    raises, and CortexPartError when that left out ``super().__init__``."""
    what = f"while making {cls.__name__} for {config!r}"
    try:
        with building(backend, dtype, device):
            module = cls(config) if issubclass(cls, MemoryCore) else cls(config, width)
    except Exception as error:
        error.add_note(what)
        raise
    made_for = getattr(module, "hidden_size", width)
    if made_for != width:
        raise CortexPartError(f"{cls.__name__} has hidden_size {made_for}; it stands where {width} is the width")
    return module.to(device=device, dtype=dtype)


@lru_cache(maxsize=128)
def describe(cls: type[StatefulPart], config: Any, width: int) -> Description:
    """What the compiler must know of a class for a config and a width. Draws no random numbers."""
    module, fresh = _sample(cls, config, width)
    params = tuple((path, tuple(p.shape), p.requires_grad) for path, p in module.named_parameters())
    leaves = tuple(_leaf(cls.__name__, path, [leaves_of(f).get(path) for f in fresh]) for path in leaves_of(fresh[0]))
    return Description(params, leaves, int(module.flops_per_token()))


Sample = tuple[StatefulPart, tuple[TensorDictBase, ...]]  # a module, and its fresh states for the dtypes of ASKED


def _sample(cls: type[StatefulPart], config: Any, width: int) -> Sample:
    """From a module without memory (device ``meta``). One that reads values while it is made, and one that is wrong, is
    made in earnest: that works, or shows the user's own error."""
    with torch.random.fork_rng(devices=[]):
        with suppress(Exception):
            return _asked(cls, config, width, "meta")
        return _asked(cls, config, width, "cpu")


def _asked(cls: type[StatefulPart], config: Any, width: int, device: str) -> Sample:
    module = make(cls, config, width, backend="eager", dtype=torch.float32, device=device)
    fresh = tuple(module.init_state(ROWS, device="cpu", dtype=dtype) for dtype in ASKED)
    for state in fresh:
        if not isinstance(state, TensorDictBase):
            raise CortexPartError(f"{cls.__name__}.init_state returned a {type(state).__name__}; expected a TensorDict")
        if any(leaf.device.type != "cpu" for leaf in leaves_of(state).values()):
            raise CortexPartError(f"{cls.__name__}.init_state does not make its leaves on the device it is given")
    return module, fresh


def _leaf(name: str, path: str, asked: list[Tensor | None]) -> Leaf:
    """What one leaf is, from how it came for each dtype. Raises CortexPartError where it cannot be carried."""

    def refuse(got: str, expected: str) -> CortexPartError:
        return CortexPartError(f"{name}.init_state gives {path} {got}; expected {expected}")

    leaf = asked[0]
    assert leaf is not None
    if not all(_KEY.fullmatch(key) for key in path.split("/")):
        raise refuse("a name that is no word", "letters, digits and _")
    if any(other is None or other.shape != leaf.shape for other in asked):
        raise refuse("only for some dtypes, or in other shapes", "the same leaves whatever the dtype")
    if leaf.dim() == 0 or leaf.shape[0] != ROWS:
        raise refuse(f"of shape {list(leaf.shape)} for {ROWS} rows", f"[{ROWS}, ...], the rows first")
    found = tuple(other.dtype for other in asked if other is not None)
    if found == ASKED:
        kind = "f"
    elif found == (torch.float32, torch.float32, torch.float64):
        kind = "acc"
    elif set(found) == {leaf.dtype} and leaf.dtype in KINDS:
        kind = KINDS[leaf.dtype]
    else:
        raise refuse(
            f"as {leaf.dtype} where dtype is {', '.join(str(d) for d in ASKED)}: {', '.join(map(str, found))}",
            "dtype=dtype, or float32 (float64 for float64) for a sum that must stay exact, or int64, or bool",
        )
    if kind == "i64" and path.rpartition("/")[2] == "dropout" and is_birth(leaf):
        return Leaf(tuple(path.split("/")), (), "episode", 0)  # of a compiled part inside
    start = leaf.reshape(-1)[0].item() if leaf.numel() else 0
    if leaf.requires_grad or not bool((leaf == start).all()):
        raise refuse(
            "a start that is learned or differs from place to place",
            "one number; keep it 0 in the state and add what is learned in forward",
        )
    whole = int(start) if float(start).is_integer() else start
    return Leaf(tuple(path.split("/")), tuple(leaf.shape[1:]), kind, whole)

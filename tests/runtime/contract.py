"""What the contract tests share: small stacks, masks, cuts, and the comparison of whole runs.

A stack of every kind is built once per backend and dtype; its parameters are moved off their starting point, since
zeros and ones at the start (recurrent matrices, output maps) would hide mistakes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

import torch
from tensordict import TensorDict
from torch import Tensor

import cortexc
from cortexc.runtime import CompiledStack

GPU = bool(os.environ.get("CORTEXC_TEST_GPU"))
DEVICE = "cuda" if GPU else "cpu"

WIDTH = 16
ROWS = 3

# Short memories, so that windows and buffers are crossed within a few steps.
PATTERNS = {
    "A": "A",
    "X": "X(mem_len=5)",
    "M": "M(chunk_size=4)",
    "S": "S",
    "AXMS": "A X(mem_len=5) M(chunk_size=4) S x2",
}
MASKS = ("none", "false", "random", "first", "last", "all")
CUTS = ("whole", "halves", "one+rest", "random", "steps")

State = TensorDict | None


@cache
def _source(pattern: str) -> dict[str, Tensor]:
    """One set of weights for a pattern, which all backends and dtypes share."""
    torch.manual_seed(1)
    stack = cortexc.compile(pattern, d_hidden=WIDTH, backend="eager", dtype=torch.float64)
    with torch.no_grad():
        for p in stack.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return {k: v.clone() for k, v in stack.state_dict().items()}


def make(pattern: str, backend: str, dtype: torch.dtype) -> CompiledStack:
    stack = cortexc.compile(pattern, d_hidden=WIDTH, backend=backend, dtype=dtype, device=DEVICE)
    stack.load_state_dict(_source(pattern))
    return stack


def inputs(steps: int, dtype: torch.dtype, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(ROWS, steps, WIDTH, generator=generator, dtype=torch.float64).to(dtype).to(DEVICE)


def mask(kind: str, steps: int, seed: int = 3) -> Tensor | None:
    if kind == "none":
        return None
    m = torch.zeros(ROWS, steps, dtype=torch.bool)
    if kind == "random":
        m = torch.rand(ROWS, steps, generator=torch.Generator().manual_seed(seed)) < 0.2
        m[0, 1] = True  # never empty, whatever the seed
    elif kind == "first":
        m[:, 0] = True
    elif kind == "last":
        m[1:, -1] = True
    elif kind == "all":
        m[:] = True
    return m.to(DEVICE)


def pieces(kind: str, steps: int) -> list[int]:
    """The lengths a sequence is cut into."""
    return {
        "whole": [steps],
        "halves": [steps // 2, steps - steps // 2],
        "one+rest": [1, steps - 1],
        "random": [3, 1, 4, steps - 8],
        "steps": [1] * steps,
    }[kind]


def run(
    stack: CompiledStack,
    x: Tensor,
    resets: Tensor | None,
    lengths: Sequence[int],
    state: State = None,
    *,
    by_step: bool = False,
) -> tuple[Tensor, TensorDict]:
    """The outputs of all pieces joined, and the final state."""
    outputs, start = [], 0
    for n in lengths:
        part = slice(start, start + n)
        m = None if resets is None else resets[:, part]
        if by_step:
            assert n == 1
            y, state = stack.step(x[:, start], state, resets=None if m is None else m[:, 0])
            outputs.append(y[:, None])
        else:
            y, state = stack(x[:, part], state, resets=m)
            outputs.append(y)
        start += n
    assert state is not None
    return torch.cat(outputs, 1), state


def leaves(state: TensorDict) -> dict[str, Tensor]:
    """Leaves by path; ``/`` between levels."""
    found = {"/".join(k if isinstance(k, tuple) else (k,)): v for k, v in state.items(True, True)}
    return dict(sorted(found.items()))


def carried(state: TensorDict) -> dict[str, Tensor]:
    """The floating leaves that a loss may depend on: traces and remembered inputs are detached by contract."""
    return {
        k: v
        for k, v in leaves(state).items()
        if v.is_floating_point() and "/E_" not in k and not k.endswith(("/mem", "/conv"))
    }

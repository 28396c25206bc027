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

from ..tolerances import CANCELLING, TOLERANCES

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
    """The floating leaves that a loss may depend on: neither traces nor what attention remembers."""
    return {
        path: leaf
        for path, leaf in leaves(state).items()
        if leaf.is_floating_point() and not path.rpartition("/")[2].startswith(("E_", "mem"))
    }


def gradients(stack: CompiledStack, steps: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Of a weighted sum of outputs and final state, from a state that some steps have filled, with resets inside."""
    with torch.no_grad():
        _, state = stack(inputs(5, dtype, seed=7))
    state = state.clone()
    wanted = {k: v.requires_grad_() for k, v in carried(state).items()}
    x = inputs(steps, dtype).requires_grad_()
    y, after = stack(x, state, resets=mask("random", steps))
    weights = torch.Generator().manual_seed(11)

    def weigh(t: Tensor) -> Tensor:
        w = torch.randn(t.shape, generator=weights, dtype=torch.float64).to(t.dtype).to(DEVICE)
        return (t * w).sum()

    loss = weigh(y) + sum(weigh(leaf) for leaf in carried(after).values())
    names = ["x", *wanted, *(n for n, _ in stack.named_parameters())]
    grads = torch.autograd.grad(loss, [x, *wanted.values(), *stack.parameters()], allow_unused=True)
    return {n: torch.zeros(()) if g is None else g.cpu() for n, g in zip(names, grads, strict=True)}


def check_gradients(stack: CompiledStack, reference: CompiledStack, steps: int, dtype: torch.dtype) -> None:
    """Every gradient against the float64 reference's: absolutely in float64, else relative to its norm."""
    found = gradients(stack, steps, dtype)
    expected = gradients(reference, steps, torch.float64)
    largest = max(g.norm().item() for g in expected.values())
    for path, g in found.items():
        error = (g.double() - expected[path]).norm().item()
        scale = 1.0 if dtype == torch.float64 else max(expected[path].norm().item(), CANCELLING[DEVICE] * largest)
        assert error <= TOLERANCES[dtype] * scale, f"{path}: {error:.1e} of {scale:.1e}"

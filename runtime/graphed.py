"""`Graphed`: training on fixed shapes with forward and backward as CUDA graphs.

A deep stack of small layers launches thousands of kernels a call, and the launching takes longer than the work. For one
shape the launches can be recorded once and replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from tensordict import TensorDict
from torch import Tensor

from .checks import check_input, check_resets
from .errors import CortexInputError

if TYPE_CHECKING:
    from .module import CompiledStack

WARM_UP = 3  # runs before the capture: kernels compile, libraries allocate their workspaces


class Graphed:
    """``y, state = graphed(x, state, resets=mask)`` for ``x [B, T, H]`` of one fixed shape, differentiable in x and the
    parameters. The incoming state is detached: gradients stay inside a call, eligibility traces go on across calls.

    Outputs live in buffers that the next call overwrites: run the backward before the next forward, and clone what you
    keep. Moving or casting the stack afterwards makes the recording stale, which raises.
    """

    def __init__(self, stack: CompiledStack, batch: int, steps: int) -> None:
        if stack.device.type != "cuda":
            raise CortexInputError(f"graphed needs a CUDA device, the parameters are on {stack.device}")
        self.stack, self.shape, self._epoch = stack, (batch, steps, stack.d_hidden), stack.epoch
        x = torch.zeros(self.shape, device=stack.device, dtype=stack.dtype, requires_grad=True)
        mask = torch.zeros(batch, steps, dtype=torch.bool, device=stack.device)
        leaves = stack.layout.initial(batch, stack.device, stack.dtype)
        # The parameters go in as arguments, through aliases of the same memory: a backward that somebody ran before has
        # tied the parameters themselves to another stream, which a capture must not touch.
        self._names = [name for name, p in stack.named_parameters() if p.requires_grad]
        params = dict(stack.named_parameters())
        aliases = [params[name].detach().requires_grad_() for name in self._names]
        self._run: Callable[..., tuple[Tensor, ...]] = torch.cuda.make_graphed_callables(
            self._flat, (x, mask, *leaves, *aliases), allow_unused_input=True, num_warmup_iters=WARM_UP
        )

    def _flat(self, x: Tensor, mask: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """The stack on flat tensors, which is what a graph can record."""
        leaves, params = rest[: -len(self._names)], rest[-len(self._names) :]
        given = dict(zip(self._names, params, strict=True))
        y, after = torch.func.functional_call(self.stack, given, (x, leaves, mask), {"flat": True})
        return y, *after

    def __call__(
        self, x: Tensor, state: TensorDict | None = None, *, resets: Tensor | None = None
    ) -> tuple[Tensor, TensorDict]:
        stack = self.stack
        check_input(x, stack.d_hidden, stack.dtype, stack.device)
        if tuple(x.shape) != self.shape:
            raise CortexInputError(f"x has shape {list(x.shape)}, this graph was recorded for {list(self.shape)}")
        if self._epoch != stack.epoch:
            raise CortexInputError("the stack was moved or cast since it was recorded; record it again: stack.graphed(…)")
        mask = check_resets(resets, x)
        if mask is None:
            mask = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        leaves = stack.leaves(x, state)
        params = dict(stack.named_parameters())
        y, *after = self._run(x, mask, *(leaf.detach() for leaf in leaves), *(params[n] for n in self._names))
        return y, stack.layout.pack(tuple(leaf.detach() for leaf in after), x.shape[0])

"""The first call of a kind, rehearsed: what it and its backward launch is compiled side by side, not one by one.

A rehearsal runs the call on aliases of its operands while launches only compile (`kernels/ahead.py`), so it costs about
what Python does in the call, returns nothing and leaves no trace. Stacks with modules of users are not rehearsed: their
code may look at values, and in a rehearsal values mean nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..kernels.ahead import compile_ahead, rehearsing

if TYPE_CHECKING:
    from .module import CompiledStack
    from .state import Leaves


class Aliased:
    """One call on tensors that share the memory of the caller's and nothing else: no hook of the caller's, on the stack
    or on a parameter, sees it, and no gradient that flows through it gets anywhere."""

    def __init__(
        self, stack: CompiledStack, x: Tensor, leaves: Leaves, mask: Tensor | None, routes: Tensor | None
    ) -> None:
        self.body, self.mask, self.routes = _Body(stack), mask, routes
        self.x, *rest = (_alias(t) for t in (x, *leaves))
        self.leaves = tuple(rest)
        self.params = {n: _alias(p) for n, p in self.body.named_parameters() if p.requires_grad}
        differentiable = [t for t in (self.x, *self.leaves, *self.params.values()) if t.requires_grad]
        self.inputs = differentiable if torch.is_grad_enabled() else []

    def __call__(self) -> tuple[Tensor, ...]:
        args = (self.x, self.leaves, self.mask)
        how = {"flat": True, "record": False, "route_ids": self.routes}
        y, after = torch.func.functional_call(self.body, self.params, args, how)
        return (y, *after)

    def gradients(
        self, outs: Sequence[Tensor], grads: Sequence[Tensor], *, again: bool = False
    ) -> tuple[Tensor | None, ...]:
        """Of `inputs`. With `again` it may be asked once more."""
        return torch.autograd.grad(outs, self.inputs, grads, allow_unused=True, retain_graph=again)


class _Body(nn.Module):
    """A stack without the hooks around its forward."""

    def __init__(self, stack: CompiledStack) -> None:
        super().__init__()
        self.stack = stack

    def forward(self, *args: Any, **how: Any) -> Any:
        return self.stack.forward(*args, **how)


def _alias(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)


class Rehearsals:
    """Which kinds of calls of one stack have been rehearsed."""

    def __init__(self) -> None:
        self._done: set[Hashable] = set()

    def before(
        self, stack: CompiledStack, x: Tensor, leaves: Leaves | None, mask: Tensor | None, routes: Tensor | None
    ) -> None:
        """Rehearse this call if none of its kind was. Sizes make no kind: most kernels are the same for all."""
        kind = (x.dim(), x.dtype, mask is None, torch.is_grad_enabled(), torch.is_autocast_enabled("cuda"))
        if kind in self._done or rehearsing():
            return
        self._done.add(kind)
        start = stack.fresh(x.shape[0], x.device, x.dtype) if leaves is None else leaves
        call = Aliased(stack, x, start, mask, routes)

        def work() -> None:
            outs = [o for o in call() if o.requires_grad]
            grads = [torch.zeros_like(o) for o in outs]
            if outs:
                # A loss of the output alone needs other kernels than one whose gradient comes through the state too.
                call.gradients(outs[:1], grads[:1], again=True)
                call.gradients(outs, grads)

        compile_ahead(work, x.device)

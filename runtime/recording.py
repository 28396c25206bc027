"""Recording: calls of one shape as CUDA graphs, made by themselves and used only when that is safe.

A deep stack of small layers launches thousands of kernels a call, and on a GPU the launching takes longer than the
work. When a call of the same kind (shapes, dtypes, gradients wanted, autocast, …) comes for the third time, its
launches are recorded, forward and backward, and later calls replay them. Results are copied out, so they belong to the
caller.

A recording holds the intermediate values of one forward at a time. A second forward before the backward of the first
therefore runs unrecorded, as do calls inside torch.compile, another capture or gradient checkpointing, and calls whose
parameters are not where they were. ``CORTEXC_RECORD=0`` turns recording off.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch._utils import _unflatten_dense_tensors as unflatten
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from ..kernels import lanes
from .rehearsal import Aliased
from .sites import Sites
from .state import Leaves

if TYPE_CHECKING:
    from .module import CompiledStack

R = TypeVar("R")

AFTER = 3  # a kind of call is recorded when it comes this often
KEPT = 8  # recordings of one stack; each holds the memory of one forward
WARM_UP = 2  # runs on a side stream before a capture: kernels compile, libraries allocate their workspaces


def enabled() -> bool:
    """Whether the user has left recording on."""
    return os.environ.get("CORTEXC_RECORD", "1") != "0"


def undisturbed() -> bool:
    """Whether a call may do more than compute: nothing traces, records or transforms what it does, or counts what it
    saves for its backward (as gradient checkpointing does, whose second run must save the same)."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and not is_in_torch_dispatch_mode()
        and forward_ad._current_level < 0
        and torch._C._autograd._top_saved_tensors_default_hooks(False) is None
    )


def recordable(x: Tensor) -> bool:
    """Whether a call on this input may be recorded, or rehearsed."""
    return x.is_cuda and x.numel() > 0 and undisturbed() and not torch.cuda.is_current_stream_capturing()


class Recorder:
    """The recordings of one stack."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, int] = {}
        self._recordings: dict[Hashable, Recording] = {}
        self._sites: Sites | None = None
        self.params: list[Tensor] = []  # of the stack, as `find` saw them

    def _look(self, stack: CompiledStack) -> list[Tensor]:
        """The buffers of the stack; its parameters are in `params`."""
        found = self._sites.tensors() if self._sites is not None else None
        if found is None:
            self._sites = Sites(stack)
            found = self._sites.tensors()
            assert found is not None
        self.params, buffers = found
        return buffers

    def find(
        self, stack: CompiledStack, x: Tensor, leaves: Leaves | None, mask: Tensor | None, routes: Tensor | None
    ) -> Recording | None:
        """A recording that this call may use; makes one when the kind of call has come often enough. No leaves: a
        fresh state."""
        buffers = self._look(stack)
        if set(map(type, self.params)) - {nn.Parameter}:
            return None  # sharded or wrapped parameters have no memory of their own to record
        key = (*_kind_of_call(x, leaves or (), mask), routes is None, *stack.modes())
        found = self._recordings.get(key)
        if found is not None:
            if found.addresses != _addresses((*self.params, *buffers)):
                del self._recordings[key]  # parameters were moved, replaced or frozen since
                return None
            return None if found.busy() else found
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] < AFTER or len(self._recordings) >= KEPT:
            return None
        # Its buffers outlive this call, whatever mode the call is in. Leaving inference mode switches gradients on.
        grad = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.set_grad_enabled(grad):
            start = stack.fresh(x.shape[0], x.device, x.dtype) if leaves is None else leaves
            self._recordings[key] = made = Recording(stack, x, start, mask, routes)
        return made


def _kind_of_call(x: Tensor, leaves: Leaves, mask: Tensor | None) -> tuple[Hashable, ...]:
    return (
        x.shape,
        x.dtype,
        x.device,
        mask is None,
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        x.requires_grad,
        tuple(i for i, leaf in enumerate(leaves) if leaf.requires_grad),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        torch.backends.cuda.matmul.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
    )


def _addresses(tensors: Sequence[Tensor]) -> tuple[list[int], list[bool]]:
    return list(map(Tensor.data_ptr, tensors)), [t.requires_grad for t in tensors]


def _copy(tensor: Any) -> Any:
    """Memory of its own, for a tensor that there is."""
    return None if tensor is None else tensor.detach().clone().requires_grad_(tensor.requires_grad)


class _Ticket:
    """One forward whose intermediate values the recording still holds."""

    def __init__(self) -> None:
        self.done = False


class Recording:
    """One kind of call, recorded. ``__call__`` replays it."""

    def __init__(
        self, stack: CompiledStack, x: Tensor, leaves: Leaves, mask: Tensor | None, routes: Tensor | None
    ) -> None:
        self.addresses = _addresses((*stack.parameters(), *stack.buffers()))
        self._ticket: weakref.ref[_Ticket] | None = None
        self._starts = stack.layout.starts
        # Aliases, of the parameters too: an earlier backward may have tied those themselves to another stream.
        call = Aliased(stack, _copy(x), tuple(map(_copy, leaves)), _copy(mask), _copy(routes))
        self.x, self.leaves, self.mask, self.routes, self.params = (
            call.x,
            call.leaves,
            call.mask,
            call.routes,
            call.params,
        )
        with lanes(self.x.device):
            self._capture(call)

    def _capture(self, call: Aliased) -> None:
        warm_up(self.x.device, lambda: self._try(call))

        def forward() -> tuple[Tensor, ...]:
            self._live = call()
            return tuple(o.detach() for o in self._live)

        def backward() -> dict[torch.dtype, Tensor]:
            found = call.gradients([self._live[i] for i in self._wanted], self.grads_out)
            # All gradients of a dtype in one buffer: handing them out is one copy and not one a parameter.
            there = [g for g in found if g is not None and g.numel()]
            self._dtypes = [g.dtype if g is not None and g.numel() else None for g in found]
            self._shapes = {d: [like(g) for g in there if g.dtype == d] for d in dict.fromkeys(g.dtype for g in there)}
            return {d: torch.cat([g.reshape(-1) for g in there if g.dtype == d]) for d in self._shapes}

        self.outs, self.forward = captured(forward)
        self.grads_out = [torch.zeros_like(self.outs[i]) for i in self._wanted]
        self._given = [True] * len(self._wanted)  # which of them the last backward wrote
        if self._wanted:
            self.flat, self.backward = captured(backward, self.forward.pool())
        del self._live

    def _try(self, call: Aliased) -> None:
        """Once without recording; finds out which results have gradients."""
        outs = call()
        self._wanted = [i for i, o in enumerate(outs) if o.requires_grad]
        if self._wanted:
            call.gradients([outs[i] for i in self._wanted], [torch.zeros_like(outs[i]) for i in self._wanted])

    def busy(self) -> bool:
        """Whether the values of an earlier forward are still waiting for their backward."""
        ticket = self._ticket() if self._ticket is not None else None
        return ticket is not None and not ticket.done

    def __call__(
        self, params: Sequence[Tensor], x: Tensor, leaves: Leaves | None, mask: Tensor | None, routes: Tensor | None
    ) -> tuple[Tensor, Leaves]:
        """Replay for the stack whose parameters these are."""
        if not self._wanted:
            y, *after = self.replay(x, leaves, mask, routes)
            return y, tuple(after)
        # Only what requires grad goes through autograd by name; the rest is copied inside.
        wanted = [p for p in params if p.requires_grad]
        count = None if leaves is None else len(leaves)
        y, *after = _Replay.apply(self, mask, routes, count, x, *(leaves or ()), *wanted)
        return y, tuple(after)

    @torch.no_grad()
    def replay(
        self, x: Tensor, leaves: Leaves | None, mask: Tensor | None, routes: Tensor | None
    ) -> tuple[Tensor, ...]:
        self.x.copy_(x)
        if leaves is None:
            self._begin()
        else:
            copy_all(self.leaves, leaves)
        if self.mask is not None and mask is not None:
            self.mask.copy_(mask)
        if self.routes is not None and routes is not None:
            self.routes.copy_(routes)
        self.forward.replay()
        return clone_all(self.outs)

    def _begin(self) -> None:
        """A fresh state, in few launches."""
        zeros = [leaf for leaf, start in zip(self.leaves, self._starts, strict=True) if not start]
        if zeros:
            torch._foreach_zero_(zeros)
        for leaf, start in zip(self.leaves, self._starts, strict=True):
            if start:
                leaf.fill_(start)

    @torch.no_grad()
    def replay_backward(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        given = [grads[i] for i in self._wanted]
        stale = [to for to, g, was in zip(self.grads_out, given, self._given, strict=True) if g is None and was]
        if stale:
            torch._foreach_zero_(stale)
        self._given = [g is not None for g in given]
        for to, g in zip(self.grads_out, given, strict=True):
            if g is not None:
                to.copy_(g)
        self.backward.replay()
        # Hundreds of gradients: one call cuts a buffer into all of them.
        cut = {d: iter(unflatten(buffer.clone(), self._shapes[d])) for d, buffer in self.flat.items()}
        return [None if dtype is None else next(cut[dtype]) for dtype in self._dtypes]

    def issue(self) -> _Ticket:
        ticket = _Ticket()
        self._ticket = weakref.ref(ticket)
        return ticket


def warm_up(device: torch.device, run: Callable[[], object]) -> None:
    """Runs on a side stream, as a capture wants it."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream(device).wait_stream(side)


def captured(work: Callable[[], R], pool: Any = None) -> tuple[R, torch.cuda.CUDAGraph]:
    """What ``work`` returned, and the graph whose replay computes it again, in the same places."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        found = work()
    return found, graph


def like(tensor: Tensor) -> Tensor:
    """Its shape, without memory."""
    return torch.empty(tensor.shape, device="meta")


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy many tensors in few launches, grouped by dtype. Without gradients."""
    groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(targets, sources, strict=True):
        pair = groups.setdefault(target.dtype, ([], []))
        pair[0].append(target)
        pair[1].append(source)
    for to, of in groups.values():
        torch._foreach_copy_(to, of)


def clone_all(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Clones that the caller may keep."""
    made = tuple(torch.empty_like(t) for t in tensors)
    copy_all(made, tensors)
    return made


class _Replay(torch.autograd.Function):
    """A recorded forward with its recorded backward."""

    @staticmethod
    def forward(
        ctx: Any,
        recording: Recording,
        mask: Tensor | None,
        routes: Tensor | None,
        count: int | None,
        x: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        outs = recording.replay(x, None if count is None else tensors[:count], mask, routes)
        ctx.recording, ctx.ticket = recording, recording.issue()
        ctx.needs = [t.requires_grad for t in (x, *tensors)]
        ctx.set_materialize_grads(False)
        wanted = set(recording._wanted)
        ctx.mark_non_differentiable(*(o for i, o in enumerate(outs) if i not in wanted))
        return outs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if ctx.ticket.done:
            raise RuntimeError(
                "this forward was recorded as a CUDA graph and its backward has run: its values are gone, also with "
                "retain_graph=True. Run the forward again, or set CORTEXC_RECORD=0"
            )
        found = iter(ctx.recording.replay_backward(grads))
        ctx.ticket.done = True
        return None, None, None, None, *(next(found) if need else None for need in ctx.needs)

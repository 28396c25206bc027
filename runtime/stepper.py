"""`Stepper`: stepping at low latency. The state is the stepper's own: on a GPU it lives in fixed buffers and one step
is one CUDA graph, captured once and replayed; on a CPU large memories are written where they stand.

A plain ``stack.step`` is a pure function and launches every kernel by itself; a policy acting in an environment wants
neither. The numbers are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict import TensorDict
from torch import Tensor

from ..kernels import lanes, overwriting
from ..kernels.ahead import compile_ahead
from .adapters import check_routes
from .checks import check_input, check_resets
from .errors import CortexInputError
from .recording import copy_all

if TYPE_CHECKING:
    from .module import CompiledStack
    from .state import Leaves

WARM_UP = 3  # runs before a capture: kernels compile, libraries allocate their workspaces


class Stepper:
    """``y = stepper(x, resets=mask)`` for a fixed number of rows, without gradients.

    ``y [B, H]`` is a buffer that the next call overwrites: clone it to keep it. Weights may change in place between
    calls (an optimizer step is seen); a stack that was moved or cast since is captured again.
    """

    def __init__(self, stack: CompiledStack, batch: int) -> None:
        if batch < 1:
            raise CortexInputError(f"a stepper needs at least one row, got batch={batch}")
        self.stack, self.batch = stack, batch
        self._graph: torch.cuda.CUDAGraph | None = None
        self._epoch = -1
        self._routed = stack.adapter is not None
        self._prepare()

    def _prepare(self) -> None:
        device, dtype = self.stack.device, self.stack.dtype
        self._epoch = self.stack.epoch
        self._x = torch.zeros(self.batch, self.stack.d_hidden, device=device, dtype=dtype)
        self._mask = torch.zeros(self.batch, dtype=torch.bool, device=device)
        self._routes = torch.zeros(self.batch, dtype=torch.int64, device=device) if self._routed else None
        self._leaves = self.stack.fresh(self.batch, device, dtype)
        self._modes = self.stack.modes()
        self._graph = None
        if device.type == "cuda" and self.stack.capturable:
            with lanes(device):
                self._capture()

    def _capture(self) -> None:
        if self.stack.closed:
            with torch.no_grad():
                compile_ahead(lambda: self._run(self._mask), self._x.device)
        start = [leaf.clone() for leaf in self._leaves]
        stream = torch.cuda.Stream(self._x.device)
        stream.wait_stream(torch.cuda.current_stream(self._x.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._advance(self._mask)
        torch.cuda.current_stream(self._x.device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._advance(self._mask)
        for leaf, value in zip(self._leaves, start, strict=True):
            leaf.copy_(value)

    @torch.no_grad()
    def _advance(self, mask: Tensor | None) -> None:
        """One step from the buffers into the buffers."""
        self._y, after = self._run(mask)
        copy_all(self._leaves, after)

    def _run(self, mask: Tensor | None) -> tuple[Tensor, Leaves]:
        return self.stack.run(self._x, self._leaves, mask, self._routes, record=False)

    def _advance_alone(self, x: Tensor, mask: Tensor | None) -> None:
        """The same on a CPU where all parts are ours: nobody else sees the tensors inside, so that autograd need not
        watch them and ops may write to the state."""
        with torch.inference_mode(), overwriting(self._leaves):
            own = x.clone(memory_format=torch.contiguous_format)  # what is carried may be a view of it
            y, self._leaves = self.stack.run(own, self._leaves, mask, self._routes, record=False)
        self._y = y.clone()  # which autograd may read

    @torch.no_grad()
    def __call__(self, x: Tensor, *, resets: Tensor | None = None, route_ids: Tensor | None = None) -> Tensor:
        """One step of every row: ``x [B, H]``, ``resets [B]``, ``route_ids [B]``; returns ``y [B, H]``."""
        check_input(x, self.stack.d_hidden, self.stack.dtype, self.stack.device, step=True)
        if x.shape[0] != self.batch:
            raise CortexInputError(f"x has {x.shape[0]} rows, this stepper was made for {self.batch}")
        mask = check_resets(resets, x)
        routes = check_routes(route_ids, x, self.stack.adapter)
        self._follow(routed=routes is not None)
        if self._routes is not None and routes is not None:
            self._routes.copy_(routes)
        if self._x.is_cpu and self.stack.closed:
            self._advance_alone(x, mask)
            return self._y
        self._x.copy_(x)
        if self._graph is not None:
            self._mask.copy_(mask) if mask is not None else self._mask.zero_()
            self._graph.replay()
        else:
            self._advance(mask)
        return self._y

    def _follow(self, *, routed: bool | None = None) -> None:
        """New buffers, and the carried state moved into them, if the stack was moved or cast since, if the mode
        (training or eval) changed, or if calls begin or cease to have routes."""
        routed = self._routed if routed is None else routed
        if self._epoch != self.stack.epoch or self._routed != routed or self._modes != self.stack.modes():
            held, self._routed = self._leaves, routed
            self._prepare()
            self._carry(held)

    def _carry(self, values: Leaves) -> None:
        """Go on from copies of these values, where a captured graph looks for them."""
        if self._graph is None:  # the leaves of a step may be views of one another
            self._leaves = tuple(torch.empty_like(leaf) for leaf in self._leaves)
        for leaf, value in zip(self._leaves, values, strict=True):
            leaf.copy_(value)

    @property
    def state(self) -> TensorDict:
        """A copy of the carried state, as the stack would return it."""
        self._follow()
        return self.stack.layout.pack(tuple(leaf.clone() for leaf in self._leaves), self.batch)

    @state.setter
    def state(self, state: TensorDict) -> None:
        self._follow()
        self._carry(self.stack.layout.unpack(state, self.batch, self._x.device, self._x.dtype))

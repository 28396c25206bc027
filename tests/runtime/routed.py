"""What the tests of routed adapters share: stacks with adapters that have learned, and the ids of their rows."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

import cortexc
from cortexc.runtime import CompiledStack

from .contract import DEVICE, WIDTH

SLOTS, RANK, ALPHA = 4, 2, 3.0
OPTIONS = f" with adapter_num_slots={SLOTS} adapter_rank={RANK} adapter_alpha={ALPHA}"
F32, F64 = torch.float32, torch.float64
ROUTES = torch.tensor([2, 0, 2], device=DEVICE)  # two rows of one slot, and a slot that nobody takes

OPTIONAL = " adapter_require_route_ids=false"  # with which a call may leave the ids out

PATTERNS = {
    "A": "A",
    "A full rank": "A(use_fullrank_rtu=true)",
    "X": "X(mem_len=5)",
    "M": "M(chunk_size=4)",
    "S": "S",
    "L": "L(num_layers=2)",
    "L projected": "L(proj_size=6)",
    "Ag": "Ag(eta=3)",
    "X^": "X^(mem_len=5)",
    "M^": "M^(chunk_size=4)",
    "S^": "S^",
    "C": "C",
    "equations": "recurrence(cell=gru, num_heads=2)",
    "adapter scaffold": "L@adapter(bottleneck=5)",
    "AXMS": "A X(mem_len=5) M(chunk_size=4) S x2",
    "top-k": "A S{top_k=1}",
    "no whisper": "A L{whisper_lambda=0.0}",
}


def adapted(stack: CompiledStack) -> dict[str, torch.nn.Parameter]:
    return {n: p for n, p in stack.named_parameters() if n.endswith(("adapter.down", "adapter.up"))}


@cache
def pair(pattern: str, backend: str, dtype: torch.dtype) -> tuple[CompiledStack, CompiledStack]:
    """A stack with adapters whose every weight is off its start, and one without that takes merged weights."""
    torch.manual_seed(8)  # AGaLiTe divides: with others its float32 gradient is far from any other float32 gradient
    source = cortexc.compile(pattern + OPTIONS, d_hidden=WIDTH, dtype=F64, backend="eager", device="cpu")
    own = adapted(source)
    with torch.no_grad():
        for name, p in source.named_parameters():
            p.add_((0.3 if name in own else 0.1) * torch.randn_like(p))
    stack = cortexc.compile(pattern + OPTIONS, d_hidden=WIDTH, backend=backend, dtype=dtype, device=DEVICE)
    stack.load_state_dict(source.state_dict())  # the same numbers on every device
    return stack, cortexc.compile(pattern, d_hidden=WIDTH, backend=backend, dtype=dtype, device=DEVICE)


def compiled(pattern: str, options: str = "", backend: str = "eager", dtype: torch.dtype = F64) -> CompiledStack:
    return cortexc.compile(pattern + OPTIONS + options, d_hidden=WIDTH, backend=backend, dtype=dtype, device=DEVICE)


class Routed:
    """A stack with its routes fixed, for helpers that know of none."""

    def __init__(self, stack: CompiledStack, routes: Tensor) -> None:
        self.stack, self.routes = stack, routes

    def __call__(self, x: Tensor, state: object = None, *, resets: Tensor | None = None) -> tuple[Tensor, object]:
        return self.stack(x, state, resets, route_ids=self.routes)

    def step(self, x: Tensor, state: object = None, *, resets: Tensor | None = None) -> tuple[Tensor, object]:
        return self.stack.step(x, state, resets=resets, route_ids=self.routes)  # type: ignore[arg-type]

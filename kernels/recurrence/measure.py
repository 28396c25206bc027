"""One kernel under any choice: does it give the same numbers, and how long does it take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from . import tiles
from .cell import Inputs
from .choices import Choice, Key
from .launch import backward, forward
from .tuning import Call

ROUNDS, WARMUP = 20, 3
# Relative norm of the difference to the built-in choice's numbers: another order of sums, nothing else.
CLOSE = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}
CLOSE_TF32 = 5e-3
FAILED = math.inf


class Kernel:
    """One kernel with random numbers, of the largest call that its key stands for."""

    def __init__(self, key: Key, call: Call) -> None:
        call = call.largest(key)
        self.key, self.cell = key, call.cell
        generator = torch.Generator(call.device).manual_seed(0)

        def draw(*size: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
            return (scale * torch.randn(*size, generator=generator, device=call.device)).to(dtype)

        rows, length, inputs, width = call.shape
        weight = None
        if call.weight is not None and call.weight_dtype is not None:
            weight = draw(*call.weight, scale=call.weight[-1] ** -0.5, dtype=call.weight_dtype)
        self.inputs = Inputs(
            x=draw(rows, length, inputs, width, dtype=call.dtype),
            params=tuple(draw(width, scale=0.3) for _ in self.cell.params),
            weight=weight,
            state=tuple(draw(rows, width, scale=0.5).abs() for _ in self.cell.state),
            traces=(),
            resets=draw(rows, length) > 2.0,
        )
        self.start = tiles.built_in(self.cell, self.inputs.x, weight, key.direction)
        self.kept: tuple[Tensor, ...] = ()
        self.d: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] = ((), ())
        if key.direction == "backward":
            made = forward(self.cell, self.inputs, keep=True)
            self.kept = made.kept
            # Which side a maximum takes may hang on a rounding, and the last state on it; the outputs do not.
            last = [torch.zeros_like(s) for s in made.last]
            self.d = (tuple(draw(*y.shape, dtype=y.dtype) for y in made.outputs), tuple(last))
        self.wanted = self.run(self.start)

    def run(self, choice: Choice) -> list[Tensor]:
        """Every number that the kernel makes, in an order and shapes that do not depend on the choice."""
        how = tiles.launched(self.cell, self.inputs.x, self.inputs.weight, choice)
        if self.key.direction == "forward":
            made = forward(self.cell, self.inputs, keep=True, how=how)
            return [*made.outputs, *made.last, *made.kept]
        back = backward(self.cell, self.inputs, self.kept, *self.d, how=how)
        summed = [h.sum(0) for h in back.hoisted]
        return [t for t in (back.x, back.weight, *back.state, *summed) if t is not None]

    def same(self, choice: Choice) -> bool:
        """Whether a choice gives the numbers of the built-in one, up to rounding."""
        limit = CLOSE_TF32 if self.key.arithmetic == "tf32" else CLOSE[_narrowest(self.inputs)]
        pairs = zip(self.run(choice), self.wanted, strict=True)
        return all(_relative(a, b) <= limit for a, b in pairs)  # NaN is not

    def milliseconds(self, choice: Choice) -> float:
        """The median of replays as a CUDA graph, where launching costs nothing; FAILED if it does not run rightly."""
        try:
            if choice != self.start and not self.same(choice):
                return FAILED
            replay = _recorded(lambda: self.run(choice)).replay
        except Exception:  # whatever Triton says of a choice that this device cannot run
            torch.cuda.synchronize()
            if choice == self.start:
                raise
            return FAILED
        return statistics.median(_times(replay))


def _times(run: Callable[[], Any]) -> Iterator[float]:
    for _ in range(WARMUP):
        run()
    for _ in range(ROUNDS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        yield start.elapsed_time(end)


def _recorded(run: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        run()
    return graph


def _narrowest(inputs: Inputs) -> torch.dtype:
    dtypes = [t.dtype for t in (inputs.x, inputs.weight) if t is not None]
    return min(dtypes, key=lambda d: d.itemsize)


def _relative(a: Tensor, b: Tensor) -> float:
    return ((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-6)).item()

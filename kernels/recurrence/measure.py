"""One kernel under any choice: does it give the same numbers, and how long does it take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .cell import Inputs
from .choices import Choice, Key
from .launch import backward, forward
from .plans import built_in, launched
from .tuning import Call

ROUNDS, WARMUP = 20, 3
# Relative norm of the difference to the built-in choice's numbers: another order of sums, nothing else.
CLOSE = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}
CLOSE_TF32 = 5e-3
FAILED = math.inf


class Kernel:
    """One kernel with random numbers, of the largest call that its key stands for."""

    def __init__(self, key: Key, call: Call) -> None:
        self.key, self.cell = key, call.cell
        given = call.inputs
        generator = torch.Generator(given.x.device).manual_seed(0)

        def draw(like: Tensor, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(like.shape, generator=generator, device=like.device)).to(like.dtype)

        self.inputs = Inputs(
            x=draw(given.x),
            params=tuple(draw(p, 0.3) for p in given.params),
            weight=None if given.weight is None else draw(given.weight, given.weight.shape[-1] ** -0.5),
            state=tuple(draw(s, 0.5).abs() for s in given.state),
            traces=(),
            resets=draw(given.x.new_empty(given.x.shape[:2])) > 2.0,
            beside=tuple(draw(t) for t in given.beside),
        )
        self.start = built_in(self.cell, self.inputs, key.direction)
        self.kept: tuple[Tensor, ...] = ()
        self.d: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] = ((), ())
        if key.direction == "backward":
            made = forward(self.cell, self.inputs, keep=True)
            self.kept = made.kept
            # Which side a maximum takes may hang on a rounding, and the last state on it; the outputs do not.
            last = [torch.zeros_like(s) for s in made.last]
            self.d = (tuple(draw(y) for y in made.outputs), tuple(last))
        self.wanted = self.run(self.start)

    def run(self, choice: Choice) -> list[Tensor]:
        """Every number that the kernel makes, in an order and shapes that do not depend on the choice."""
        how = launched(self.cell, self.inputs, choice)
        if self.key.direction == "forward":
            made = forward(self.cell, self.inputs, keep=True, how=how)
            return [*made.outputs, *made.last, *made.kept]
        back = backward(self.cell, self.inputs, self.kept, *self.d, how=how)
        summed = [h.sum(0) for h in back.hoisted]
        return [t for t in (back.x, *back.beside, back.weight, *back.state, *summed) if t is not None]

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
    dtypes = [t.dtype for t in (inputs.x, inputs.weight, *inputs.beside) if t is not None]
    return min(dtypes, key=lambda d: d.itemsize)


def _relative(a: Tensor, b: Tensor) -> float:
    return ((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-6)).item()

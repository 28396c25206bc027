"""Where the kernels of the mLSTM run, and how they cut a call. Sizes were measured on an H100."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .._triton import INTERPRETED
from ..pointwise.region import loops_on_triton

CHUNK = 64  # steps at most
INTERPRETED_BLOCK = 128  # the interpreter's time goes by operations, not by numbers

Options = dict[str, int]


@dataclass(frozen=True)
class Tiles:
    """Steps of a chunk; for each kernel its blocks and launch options."""

    length: int
    gates: Options
    states: Options
    outputs: Options
    queries: Options
    adjoints: Options
    keys: Options


def runs_fused(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the kernels run for these operands."""
    return loops_on_triton(q) and loops_on_triton(k) and loops_on_triton(v)


def power(n: int) -> int:
    """The smallest power of two from n on, and at least the 16 that a product takes."""
    return max(16, 1 << (n - 1).bit_length())


def tiles(steps: int, width: int, half: bool) -> Tiles:
    """For T steps and heads of a width, multiplied in bfloat16 (half) or float32."""
    block = power(width)

    def blocks(keys: int, values: int, stages: int = 1) -> Options:
        if INTERPRETED:
            keys = values = INTERPRETED_BLOCK
        return {"BLOCK_K": min(keys, block), "BLOCK_V": min(values, block), "num_warps": 4, "num_stages": stages}

    return Tiles(
        length=min(CHUNK, power(steps)),
        gates={"BLOCK": min(64, block), "num_warps": 4},
        states=blocks(64, 128, stages=2) if half else blocks(32, 64, stages=2),
        outputs=blocks(64, 128) if half else blocks(32, 64),
        queries=blocks(64, 128) if half else blocks(64, 64),
        adjoints=(blocks(64, 128, stages=2) if half else blocks(64, 64)) | {"BLOCK_T": min(1024, power(steps))},
        keys=blocks(64, 64, stages=2) if half else blocks(32, 64),
    )


def step_tile(width: int) -> Options:
    """Of the step's kernel."""
    if INTERPRETED:
        return {"BLOCK_K": power(width), "BLOCK_V": power(width)}
    return {"BLOCK_K": min(64, power(width)), "BLOCK_V": min(32, power(width)), "num_warps": 4}

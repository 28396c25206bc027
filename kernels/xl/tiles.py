"""What the Triton kernels of this folder share: how pairs lie in memory, what a query sees, and the size of tiles.

Pairs. What belongs to pairs of a query and a key lies in blocks of queries, each a matrix [BLOCK_Q, PITCH] over the
keys that the block can see: query t0 + i and key t0 + c of [memory, inputs] are at i * PITCH + c. The key is e = c - i
places from the farthest distance (e = 0 is distance M, e = M the query itself): i * PITCH + c = i * (PITCH + 1) + e. So
the skew of Transformer-XL is two ways to read one buffer, and nothing is moved.

NaN. Hidden pairs have weight zero, and 0 * NaN is NaN, so with resets a NaN must be taken out of products. That costs,
and NaNs are rare: a program computes as if there were none, and again with CAREFUL if its result is not finite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from .._triton import INTERPRETED, tl, triton
from ..recurrence.tiles import arithmetic, padded_width

LOG2E = 1.4426950408889634
WIDEST = 256  # heads that fit a tile


@dataclass(frozen=True)
class Tile:
    """Queries and keys of one tile, and how a program runs."""

    queries: int
    keys: int
    warps: int
    stages: int

    def constants(self) -> dict[str, int]:
        return {"BLOCK_Q": self.queries, "BLOCK_K": self.keys, "num_warps": self.warps, "num_stages": self.stages}


# For heads whose rows take NARROW bytes at most, by what a launch is for and by arithmetic; measured on an H100.
NARROW = 256
TILES = {
    "forward": {"half": Tile(64, 64, 4, 2), "tf32": Tile(64, 64, 4, 1), "exact": Tile(64, 32, 4, 1)},
    "queries": {"half": Tile(64, 64, 4, 2), "tf32": Tile(64, 32, 4, 1), "exact": Tile(64, 32, 4, 1)},
    "keys": {"half": Tile(32, 64, 4, 2), "tf32": Tile(32, 32, 4, 2), "exact": Tile(32, 32, 4, 2)},
    "distances": {"half": Tile(64, 64, 4, 2), "tf32": Tile(64, 32, 4, 2), "exact": Tile(64, 32, 4, 1)},
}
WIDE = Tile(32, 32, 4, 1)  # up to twice as wide
WIDER = {"half": WIDE, "tf32": Tile(32, 32, 8, 1), "exact": Tile(16, 16, 8, 1)}
SMALL = Tile(16, 16, 4, 1)  # for the interpreter


def tile_of(q: Tensor, role: str) -> Tile:
    """The tile of a launch for queries [B, T, N, D]. role: a key of TILES, the last three are those of the backward."""
    if INTERPRETED:
        return SMALL
    size = padded_width(q.shape[-1]) * q.element_size()
    tile = TILES[role][arithmetic(q)] if size <= NARROW else WIDE if size <= 2 * NARROW else WIDER[arithmetic(q)]
    queries = max(16, min(tile.queries, 1 << (q.shape[1] - 1).bit_length()))
    return replace(tile, queries=queries, stages=1 if torch.version.hip else tile.stages)


@cache
def on_chip(device: torch.device) -> int:
    """Bytes of shared memory that one program can have."""
    if device.type != "cuda":
        return 1 << 30
    properties = torch.cuda.get_device_properties(device)
    return int(getattr(properties, "shared_memory_per_block_optin", properties.shared_memory_per_block))


def pitch_of(slots: int, tile: Tile) -> int:
    """PITCH: the keys that a block of queries can see, in whole tiles."""
    return -(-(slots + tile.queries) // tile.keys) * tile.keys


@triton.jit
def first_seen(ids_ptr, fill, t, t0, T, M: tl.constexpr, BLOCK_K: tl.constexpr, HAS_SEGMENTS: tl.constexpr):
    """The first key that each of the queries t0 .. sees, in their window and their episode. ids_ptr: of the row."""
    first = tl.maximum(t, M - fill)
    if HAS_SEGMENTS:
        own = tl.load(ids_ptr + t, mask=t < T, other=1 << 62)
        before = t * 0  # keys of an earlier episode
        for j0 in range(t0, t0 + M + t.shape[0], BLOCK_K):
            j = j0 + tl.arange(0, BLOCK_K)
            there = tl.load(ids_ptr + (j - M), mask=(j >= M) & (j < M + T), other=0)
            there = tl.where((j < M) & (j < M - fill), -1, there)  # a slot which is not real
            earlier = (there[None, :] < own[:, None]) & (j < M + T)[None, :]
            before += tl.sum(earlier.to(tl.int32), 1)
        first = tl.maximum(t, t0 + before)
    return first


@triton.jit
def rows_of(ptr, row, stride, real, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """[rows, BLOCK_D] of a matrix; zeros where a row is not real, and beyond D."""
    d = tl.arange(0, BLOCK_D)[None, :]
    return tl.load(ptr + row[:, None] * stride + d, mask=real[:, None] & (d < D), other=0.0)


@triton.jit
def biased(rows, bias_ptr, factor, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """(rows + bias) * factor, rounded once."""
    d = tl.arange(0, BLOCK_D)
    bias = tl.load(bias_ptr + d, mask=d < D, other=0.0).to(tl.float32)
    return ((rows.to(tl.float32) + bias[None, :]) * factor).to(rows.dtype)


@triton.jit
def finite(x):
    return tl.where(tl.abs(x) < float("inf"), x, 0.0)


@triton.jit
def broken_rows(x):
    """[rows, BLOCK_D] -> which rows have a number that is not finite: 1 or 0."""
    return tl.max(tl.where(tl.abs(x) < float("inf"), 0, 1), 1)


@triton.jit
def is_broken(x):
    return tl.max(broken_rows(x), 0) > 0


@triton.jit
def write_positions(
    query,
    rel_ptr,  # of the head, and of the row where each has its own
    pairs_ptr,  # of the block
    N: tl.constexpr,
    M: tl.constexpr,
    D: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The products of a block's queries with all distances, to where its pairs lie."""
    i = tl.arange(0, query.shape[0])[:, None]
    for e0 in range(0, M + 1, BLOCK_K):
        e = e0 + tl.arange(0, BLOCK_K)
        rel = rows_of(rel_ptr, M - e, N * D, e <= M, D, BLOCK_D)
        product = tl.dot(query, tl.trans(rel), input_precision=PRECISION)
        at = i * (PITCH + 1) + e[None, :]
        tl.store(pairs_ptr + at, product.to(pairs_ptr.dtype.element_ty), mask=(e <= M)[None, :])
    tl.debug_barrier()  # other threads of this program read them

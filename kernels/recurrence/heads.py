"""How a recurrence whose channels belong to heads is launched: a program is one head of one row and chunk of time."""

from __future__ import annotations

from .cell import Cell, Inputs
from .choices import Heads, bucket
from .tiles import Grid, Plan, filling_chunk

SHORTEST = 16  # steps of a chunk of time at least
ELEMENTS = 1024  # of a tile that one warp takes: more warps are fewer registers for each, but sums that cross them
CARRIED = 128  # the same where nothing is summed
LANES = {"forward": 1 << 17, "backward": 1 << 18}  # channels times chunks that fill the machine; measured on an H100


def built_in(cell: Cell, inputs: Inputs, direction: str) -> Heads:
    """The choice without a measurement. Chunks are as long as leaves the machine full: each costs a map that is written
    and read."""
    rows, length, heads, _, width = inputs.x.shape
    chunk = filling_chunk(cell, length, rows * heads * width, SHORTEST, LANES[direction])
    return Heads(chunk, warps_of(inputs, ELEMENTS))


def launched(inputs: Inputs, choice: Heads) -> Plan:
    """The plan that a choice makes of a call."""
    rows, length = inputs.x.shape[:2]
    chunk = min(choice.chunk, length)
    chunks = -(-length // chunk)
    grid, constants, options = head_tile(inputs, rows * chunks, choice.warps)
    return Plan("heads", grid, constants, chunk, chunks, options=options)


def head_tile(inputs: Inputs, runs: int, warps: int) -> tuple[Grid, dict[str, object], dict[str, object]]:
    """Grid, constants and options of a kernel whose programs are a head of each of `runs`."""
    heads, width, features = inputs.x.shape[2], inputs.x.shape[-1], inputs.features
    constants: dict[str, object] = {
        "H": heads * width,
        "D": width,
        "E": features,
        "BLOCK_D": bucket(width),
        "BLOCK_E": bucket(features),
    }
    return (runs, heads), constants, {"num_warps": warps}


def warps_of(inputs: Inputs, elements: int) -> int:
    """Warps of a program, each of which takes so many elements of a head's tile."""
    return max(1, min(16, tile_of(inputs) // elements))


def tile_of(inputs: Inputs) -> int:
    """Elements of a head's tile: its channels times its features, each padded to a power of two."""
    return bucket(inputs.x.shape[-1]) * bucket(inputs.features)

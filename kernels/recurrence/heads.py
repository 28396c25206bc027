"""How a recurrence whose channels belong to heads is launched: a program is one head of one row and chunk of time."""

from __future__ import annotations

from .._triton import INTERPRETED
from .cell import Cell, Inputs
from .tiles import INTERPRETED_CHUNK, Grid, Plan

SHORTEST = 16  # steps of a chunk of time at least
ELEMENTS = 1024  # of a tile that one warp takes: more warps are fewer registers for each, but sums that cross them
CARRIED = 128  # the same where nothing is summed
LANES = {"forward": 1 << 17, "backward": 1 << 18}  # channels times chunks that fill the machine; measured on an H100


def heads_plan(cell: Cell, inputs: Inputs, direction: str) -> Plan:
    """Chunks as long as leaves the machine full: each costs a map that is written and read."""
    rows, length, heads, _, width = inputs.x.shape
    chunk = length
    if INTERPRETED:
        chunk = min(length, INTERPRETED_CHUNK)
    elif "summary" in cell.kernels:
        wanted = max(SHORTEST, -(-length * rows * heads * width // LANES[direction]))
        chunk = min(length, 1 << (wanted - 1).bit_length())
    chunks = -(-length // chunk)
    grid, constants, options = head_tile(inputs, rows * chunks)
    return Plan("heads", grid, constants, chunk, chunks, options=options)


def head_tile(inputs: Inputs, runs: int, elements: int = ELEMENTS) -> tuple[Grid, dict[str, object], dict[str, object]]:
    """Grid, constants and options of a kernel whose programs are a head of each of `runs`, `elements` of it a warp."""
    heads, width = inputs.x.shape[2], inputs.x.shape[-1]
    features = inputs.beside[0].shape[-1] if inputs.beside and inputs.beside[0].dim() == 5 else 1
    block, across = 1 << (width - 1).bit_length(), 1 << (features - 1).bit_length()
    constants: dict[str, object] = {
        "H": heads * width,
        "D": width,
        "E": features,
        "BLOCK_D": block,
        "BLOCK_E": across,
    }
    tile = block * across
    return (runs, heads), constants, {"num_warps": max(1, min(16, tile // elements))}

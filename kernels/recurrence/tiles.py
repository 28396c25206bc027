"""Which schedule runs a call without heads of channels, and with what tiles. Sizes were measured on an H100
(bench/gpu_sweeps.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from .._triton import INTERPRETED
from .cell import Cell, Inputs
from .choices import Channels, Choice, Head, Heads, Split, bucket

Grid = tuple[int, ...]

WARPS = {"forward": 4, "backward": 8}
ON_CHIP = 128 * 1024  # bytes of one head's matrices that one program can hold
CROWDED = 64 * 1024  # bytes from which one program is slower than several; measured on an H100

# By direction and arithmetic, the fewest units first: they are fastest as long as all programs run at once. One of a
# single stage is for matrices that stay on chip.
SPLIT = {
    ("forward", "half"): (Split(), Split(units=32)),
    ("backward", "half"): (Split(warps=8), Split(units=32)),
    ("forward", "tf32"): (Split(units=8), Split(resident=0, piece=128)),
    ("backward", "tf32"): (Split(units=8, resident=0, piece=128), Split(resident=0, piece=128)),
    ("forward", "exact"): (
        Split(units=4, slices=4, resident=32 * 1024),
        Split(units=8, slices=4, resident=0, piece=128, stages=2),
        Split(resident=0),
    ),
    ("backward", "exact"): (
        Split(units=8, warps=8, slices=2, resident=32 * 1024, stages=1),
        Split(units=8, slices=4, resident=0, piece=128, stages=3),
        Split(warps=8, slices=2, resident=0),
        Split(units=32, resident=0),
    ),
}
ROWS = 16  # of a product at least, on tensor cores
SHALLOW = 16  # terms of a product at least, on tensor cores
BLOCK, WIDE_BLOCK = 64, 128  # channels of one program, where nothing is recurrent across them
WIDE = 1 << 17  # channels of all rows and chunks from which the wide one is faster
SHORTEST = 32  # steps of a chunk of time at least
LANES = 1 << 18  # channels times chunks that fill the machine
# The interpreter's time goes by operations, not by numbers.
INTERPRETED_BLOCK, INTERPRETED_CHUNK = 4096, 8


@dataclass(frozen=True)
class Plan:
    """How the loop over time of one call is launched."""

    schedule: str  # channels, head, split or heads
    grid: Grid
    constants: dict[str, object]
    chunk: int  # steps
    chunks: int
    row_step: int = 0  # split: rows of one launch
    options: dict[str, object] = field(default_factory=dict)


def schedule_of(cell: Cell, weight: Tensor | None, rows: int) -> str:
    """channels where nothing is recurrent across them; head where one program holds a head's matrices; else split."""
    if weight is None:
        return "channels"
    held = held_bytes(cell, weight)
    if held > ON_CHIP:
        return "split"
    # Near the limit several programs are faster than a full one, if they all run at once.
    together = -(-rows // ROWS) * programs(weight) <= processors(weight.device)
    several = held >= CROWDED and weight.dim() == 4 and together
    return "split" if several else "head"


def built_in(cell: Cell, inputs: Inputs, direction: str) -> Choice:
    """The choice without a measurement."""
    weight = inputs.weight
    rows, length, _, width = inputs.x.shape
    schedule = schedule_of(cell, weight, rows)
    if weight is None:
        chunk = chunk_length(cell, rows, length, width)
        return Channels(channel_block(rows * -(-length // chunk) * width), chunk)
    if schedule == "head":
        return Head(WARPS[direction])
    choices, room = SPLIT[direction, arithmetic(weight)], processors(weight.device)

    def suits(choice: Split) -> bool:
        together = -(-rows // ROWS) * programs(weight, choice) <= room
        return together and (choice.stages > 1 or split_bytes(cell, weight, choice) <= choice.resident)

    return next(filter(suits, choices), choices[-1])


def fits(cell: Cell, inputs: Inputs, choice: Choice) -> bool:
    """Whether a choice runs this call, of any schedule: chunks of time where steps compose; all programs of a split
    head at once, and on chip what must be there."""
    if isinstance(choice, Channels | Heads):
        return choice.chunk >= inputs.x.shape[1] or "summary" in cell.kernels
    weight = inputs.weight
    if weight is None or isinstance(choice, Head):
        return True
    width = weight.shape[-1]
    held = split_bytes(cell, weight, choice)
    if held > choice.resident:
        held = held * choice.piece * choice.stages // padded_width(width)
    return held <= ON_CHIP and programs(weight, choice) <= processors(weight.device)


def launched(cell: Cell, inputs: Inputs, choice: Choice) -> Plan:
    """The plan that a choice makes of a call."""
    weight = inputs.weight
    rows, length, _, width = inputs.x.shape
    if weight is None:
        assert isinstance(choice, Channels)
        chunk = min(choice.chunk, length)
        chunks = -(-length // chunk)
        grid, constants = channels(rows * chunks, width, choice.block)
        return Plan("channels", grid, constants, chunk, chunks)
    heads, _, head_width, _ = weight.shape[-4:]
    own = weight.dim() == 5  # every row has its own matrices
    padded = padded_width(head_width)
    constants = {"H": width, "D": head_width, "PRECISION": precision(weight)}
    if isinstance(choice, Head):
        tile = 1 if own else 16
        constants |= {"BLOCK_B": 16, "ROWS": tile, "OWN": own, "BLOCK_D": padded}
        options: dict[str, object] = {"num_warps": choice.warps, "num_stages": 1}
        return Plan("head", (heads, -(-rows // tile)), constants, length, 1, options=options)
    assert isinstance(choice, Split)
    parts = -(-head_width // choice.units)
    room = max(1, processors(weight.device) // (heads * parts))  # tiles of rows at once
    block = next(b for b in (ROWS, 32, 64) if b == 64 or rows <= b * room)
    tiles = min(room, -(-rows // block))
    resident = split_bytes(cell, weight, choice) <= choice.resident
    piece = padded if resident else min(choice.piece, padded)
    constants |= {
        "BLOCK_B": block,
        "BLOCK_U": choice.units,
        "BLOCK_K": piece,
        "SLICES": max(1, min(choice.slices, piece // SHALLOW)),
        "PARTS": parts,
        "STEP": True,
        "THROUGH": True,
    }
    options = {"num_warps": choice.warps, "num_stages": 1 if resident else choice.stages}
    if not INTERPRETED:
        options["launch_cooperative_grid"] = True
    return Plan("split", (heads, parts, tiles), constants, length, 1, tiles * block, options)


def refusal(cell: Cell, x: Tensor, weight: Tensor | None) -> str | None:
    """Why the kernels cannot run this call, with a code; None where they can."""
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"W412 {cell.name}: the Triton kernels compute in float32, x is {x.dtype}"
    if weight is None or held_bytes(cell, weight) <= ON_CHIP:
        return None
    heads, width = weight.shape[-4], weight.shape[-1]
    if weight.dim() == 5:
        return (
            f"W413 {cell.name}: every row has recurrent matrices of its own (routed adapters), and those of a head of "
            f"width {width} do not fit one program"
        )
    room = processors(x.device)
    if programs(weight) > room:
        return (
            f"W411 {cell.name}: {heads} recurrent matrices of width {width} spread over {programs(weight)} programs, "
            f"and {room} run at once on this device"
        )
    return None


def programs(weight: Tensor, choice: Split | None = None) -> int:
    """How many share the heads of one tile of rows, where heads are split: under a choice, or as few as can be."""
    ways = [SPLIT[direction, arithmetic(weight)][-1] for direction in ("forward", "backward")]
    units = choice.units if choice else min(way.units for way in ways)
    return weight.shape[-4] * -(-weight.shape[-1] // units)


def channel_block(channels: int) -> int:
    """Channels of one program, of all that there are."""
    if INTERPRETED:
        return min(INTERPRETED_BLOCK, 1 << (channels - 1).bit_length())
    return BLOCK if channels < WIDE else WIDE_BLOCK


def channels(runs: int, width: int, block: int | None = None) -> tuple[Grid, dict[str, object]]:
    """Grid and constants of a kernel whose programs are runs of channels."""
    block = block or channel_block(runs * width)
    return (-(-runs * width // block),), {"H": width, "BLOCK": block, "num_warps": max(1, min(4, block // 128))}


def parameters(width: int) -> tuple[Grid, dict[str, object]]:
    """Grid and constants of a kernel on what depends on parameters alone."""
    block = 32 if not INTERPRETED else min(INTERPRETED_BLOCK, 1 << (width - 1).bit_length())
    return (-(-width // block),), {"H": width, "BLOCK": block, "num_warps": 4}


def chunk_length(cell: Cell, rows: int, length: int, width: int) -> int:
    """Steps in a chunk of time, where a program is a block of channels."""
    return filling_chunk(cell, length, rows * width, SHORTEST, LANES)


def filling_chunk(cell: Cell, length: int, channels: int, shortest: int, lanes: int) -> int:
    """Steps in a chunk of time: as short as fills the machine, where chunks can run at once."""
    if "summary" not in cell.kernels:
        return length
    if INTERPRETED:
        return min(length, INTERPRETED_CHUNK)
    return min(length, bucket(max(shortest, -(-length * channels // lanes))))


def padded_width(width: int) -> int:
    """A head's width as the tensor cores take it: a power of two, at least 16."""
    return max(16, 1 << (width - 1).bit_length())


def held_bytes(cell: Cell, weight: Tensor) -> int:
    """Of one head's matrices."""
    return len(cell.gates) * padded_width(weight.shape[-1]) ** 2 * weight.element_size()


def split_bytes(cell: Cell, weight: Tensor, split: Split) -> int:
    """Of one program's part of the matrices, gates padded to a power of two."""
    gates = 1 << (len(cell.gates) - 1).bit_length()
    return gates * padded_width(weight.shape[-1]) * split.units * weight.element_size()


@cache
def processors(device: torch.device) -> int:
    """Programs that surely run at once."""
    if device.type != "cuda":
        return 1 << 16
    return torch.cuda.get_device_properties(device).multi_processor_count


def arithmetic(weight: Tensor) -> str:
    """The key of SPLIT."""
    if weight.element_size() == 2:
        return "half"
    return "tf32" if precision(weight) == "tf32" else "exact"


def arithmetic_of(inputs: Inputs) -> str:
    """That of a call: without a product, the width of the numbers that move."""
    if inputs.weight is not None:
        return arithmetic(inputs.weight)
    return "half" if inputs.x.element_size() == 2 else "exact"


def precision(weight: Tensor) -> str:
    """How a float32 dot is computed: TF32 only where torch allows it, else three TF32 passes or true float32."""
    if weight.dtype != torch.float32 or INTERPRETED or torch.version.hip:
        return "ieee"
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"

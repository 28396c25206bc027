"""Times the tile choices of the recurrences' kernels on a GPU, each set in `kernels.recurrence.tiles` for one job.

    PYTHONPATH=src python bench/gpu_sweeps.py [--part 0/8] [--out FILE]

`--part i/n` runs every n-th job only, so that several processes side by side share the compiling.
"""

from __future__ import annotations

import argparse
import itertools
import json
from functools import partial
from pathlib import Path

import torch
from gpu_work import RECURRENCES, ROWS, Job, Shape, about, arguments, bare, captured, load, median_ms, tell

from cortexc.kernels.recurrence import RecurrenceOp, tiles

HALF, FULL = torch.bfloat16, torch.float32


def sweeps(ops: dict[str, RecurrenceOp]) -> list[Job]:
    """Times of the tile choices, each set in `tiles` for one job."""
    jobs: list[Job] = []
    ways = itertools.product((4, 8, 16, 32), (4, 8), (1, 2, 4), (0, 1 << 17), (64, 128), (1, 3))
    for units, warps, slices, resident, piece, stages in ways:
        if resident and (piece, stages) != (64, 1):
            continue
        chosen = (tiles.Split(units, warps, slices, resident, piece, stages),)
        for shape, dtype, tf32 in itertools.product(
            (Shape(16, 256, 1, 256), Shape(8, 1024, 1, 512)), (HALF, FULL), (False, True)
        ):
            if dtype == HALF and tf32:
                continue
            run = partial(quick, ops["lstm"], shape, dtype, f"{chosen} tf32={tf32}", tf32)
            jobs += [partial(_with, {"SPLIT": dict.fromkeys(tiles.SPLIT, chosen)}, run)]
    for shape, block, lanes in itertools.product(
        (Shape(16, 256, 1, 256), Shape(8, 4096, 1, 1024)), (32, 64, 128, 256), [1 << n for n in range(16, 21)]
    ):
        run = partial(quick, ops["axon"], shape, FULL, f"block {block} lanes {lanes}")
        jobs += [partial(_with, {"BLOCK": block, "WIDE_BLOCK": block, "LANES": lanes, "SHORTEST": 8}, run)]
    return jobs


def quick(op: RecurrenceOp, shape: Shape, dtype: torch.dtype, note: str, tf32: bool = False) -> None:
    """One line of a sweep: the work alone, as CUDA graphs."""
    given = arguments(op, shape, dtype, False, traces=False)
    row: dict = {"sweep": op.cell.name, "shape": str(shape), "dtype": str(dtype)[6:], "note": note}
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        outputs, last, _ = op.sequence(*given, impl="triton")
        seeds = [torch.randn_like(t) for t in (*outputs, *last)]
        forward = median_ms(captured(bare(op, given, None)).replay, 5)
        row["forward_ms"], row["backward_ms"] = forward, median_ms(captured(bare(op, given, seeds)).replay, 5) - forward
    except Exception as error:  # a choice that does not fit is a line of the sweep, not its end
        row["failed"] = f"{type(error).__name__}: {str(error)[:80]}"
    torch.backends.cuda.matmul.allow_tf32 = False
    tell(**row)


def _with(values: dict, run: Job) -> object:
    """Run with other choices in `tiles`."""
    before = {name: getattr(tiles, name) for name in values}
    vars(tiles).update(values)
    try:
        return run()
    finally:
        vars(tiles).update(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--commit", default=None)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    place, parts = map(int, wanted.part.split("/"))
    for job in sweeps({name: load(rec).OP for name, rec in RECURRENCES.items()})[place::parts]:
        job()
    if wanted.out:
        wanted.out.write_text(json.dumps({"about": about(wanted.commit), "rows": ROWS}, indent=1) + "\n")


if __name__ == "__main__":
    main()

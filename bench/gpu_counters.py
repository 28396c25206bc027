"""What the hardware counters say of the recurrences' kernels on a GPU: what each of them waits for.

    PYTHONPATH=src python bench/gpu_counters.py --out bench/results/DEVICE_counters.json    # needs ncu (Nsight Compute)
    python bench/table.py

Starts itself below ncu, which runs every kernel several times and reads the counters; clocks stay as they are. For each
kernel: its time, the share of their peak rates that memory, both caches and the arithmetic reached, how often a
scheduler issued an instruction, how many warps were resident, and what the warps waited for.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import torch
from gpu_work import RECURRENCES, Job, Shape, about, agalite, conv, load, recurrence

HALF, FULL = torch.bfloat16, torch.float32
BETWEEN = "spin_kernel"  # torch.cuda._sleep: stands before each piece of work
SECTIONS = ("SpeedOfLight", "WarpStateStats", "SchedulerStats", "Occupancy", "LaunchStats", "ComputeWorkloadAnalysis")
TIME = "gpu__time_duration.sum"
SHARES = {  # percent of the peak
    "memory": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "L2": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "L1": "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "arithmetic": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "issue": "smsp__issue_active.avg.pct_of_peak_sustained_active",
    "warps": "sm__warps_active.avg.pct_of_peak_sustained_active",
}
STALL = re.compile(r"smsp__average_warps_issue_stalled_(\w+)_per_issue_active\.ratio")
PIPE = re.compile(r"sm__inst_executed_pipe_(\w+)\.avg\.pct_of_peak_sustained_active")


def work() -> dict[str, Job]:
    """What is looked at: the rows of the speed table which bytes or launches do not explain."""
    ops = {name: load(rec).OP for name, rec in RECURRENCES.items()}
    pieces: dict[str, Job] = {}
    for shape in (Shape(16, 256, 1, 256), Shape(8, 4096, 1, 1024)):
        pieces[f"axon {shape} float32"] = recurrence(ops["axon"], shape, FULL).replayed
    for dtype in (FULL, HALF):
        found, where = agalite(Shape(8, 4096, 8, 128), dtype), f"{Shape(8, 4096, 8, 128)} {str(dtype)[6:]}"
        pieces[f"agalite {where}, nothing kept"] = torch.no_grad()(found.forward)
        pieces[f"agalite {where}"] = found.replayed
        pieces[f"conv {Shape(8, 4096, 1, 1024)} {str(dtype)[6:]}"] = conv(Shape(8, 4096, 1, 1024), dtype).replayed
    for shape, dtype in (
        (Shape(16, 256, 1, 256), FULL),
        (Shape(8, 1024, 1, 512), FULL),
        (Shape(8, 1024, 1, 512), HALF),
    ):
        pieces[f"lstm {shape} {str(dtype)[6:]}"] = recurrence(ops["lstm"], shape, dtype).replayed
    for shape in (Shape(16, 256, 4, 64), Shape(64, 64, 4, 64)):
        pieces[f"slstm {shape} bfloat16"] = recurrence(ops["slstm"], shape, HALF).replayed
    return pieces


def run_all() -> None:
    """In the process that ncu watches: everything once to compile it, then once to be seen."""
    pieces = work()
    for run in pieces.values():
        run()
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    for run in pieces.values():
        torch.cuda._sleep(1)
        run()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def measured() -> list[dict[str, str]]:
    """A row of ncu's table for each kernel, by the names of its columns."""
    command = ["ncu", "--csv", "--page", "raw", "--clock-control", "none", "--profile-from-start", "off"]
    command += [part for name in SECTIONS for part in ("--section", name)]
    command += ["--metrics", "dram__bytes_read.sum,dram__bytes_write.sum"]
    done = subprocess.run([*command, sys.executable, __file__, "--inside"], capture_output=True, text=True, check=False)
    start = done.stdout.find('"ID"')
    if done.returncode or start < 0:
        sys.exit(f"ncu failed ({done.returncode}): {done.stdout[-2000:]}{done.stderr[-2000:]}")
    rows = list(csv.DictReader(io.StringIO(done.stdout[start:])))
    units = rows.pop(0)
    if units[TIME] not in NANOSECONDS:
        sys.exit(f"ncu gives times in {units[TIME]!r}, one of {', '.join(NANOSECONDS)} expected")
    return [{**row, TIME: str(number(row[TIME]) * NANOSECONDS[units[TIME]])} for row in rows]


NANOSECONDS = {"ns": 1.0, "nsecond": 1.0, "us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6}


def number(text: str) -> float:
    return float(text.replace(",", "") or "nan")


def kernel(row: dict[str, str]) -> dict[str, object]:
    """What is kept of a kernel."""
    stalls = {m[1]: number(text) for name, text in row.items() if (m := STALL.fullmatch(name)) and m[1] != "selected"}
    pipes = {m[1]: number(text) for name, text in row.items() if (m := PIPE.fullmatch(name))}
    total = sum(stalls.values()) or 1.0
    waits = sorted(stalls, key=lambda name: -stalls[name])[:3]
    busiest = max(pipes, key=lambda name: pipes[name], default="")
    return {
        "kernel": row["Kernel Name"],
        "us": round(number(row[TIME]) / 1e3, 2),
        **{name: round(number(row[metric]), 1) for name, metric in SHARES.items()},
        "waits": {name: round(100 * stalls[name] / total) for name in waits},
        "pipe": {busiest: round(pipes[busiest], 1)} if busiest else {},
        "registers": int(number(row["launch__registers_per_thread"])),
        "grid": row["Grid Size"],
        "block": row["Block Size"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--commit", default=None)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    if wanted.inside:
        run_all()
        return
    names, found = list(work()), []
    for row in measured():
        if BETWEEN in row["Kernel Name"]:
            found.append({"work": names[len(found)], "kernels": []})
        elif found:
            found[-1]["kernels"].append(kernel(row))
    if len(found) != len(names):
        sys.exit(f"ncu saw {len(found)} of {len(names)} pieces of work")
    for piece in found:
        print(piece["work"])
        for k in piece["kernels"]:
            print("  ", json.dumps(k))
    if wanted.out:
        wanted.out.write_text(json.dumps({"about": about(wanted.commit), "counters": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The part of bench/results/README.md that `gpu_counters.py` fills: what the kernels wait for."""

from __future__ import annotations

from typing import Any

SHOWN = 0.04  # of the time of a piece of work: shorter kernels are left out
WAITS = {  # the counters' words
    "long_scoreboard": "memory",
    "short_scoreboard": "shared memory",
    "barrier": "other warps",
    "wait": "the instruction before",
    "not_selected": "its turn",
    "no_instruction": "code",
    "imc_miss": "constants",
    "mio_throttle": "room in a queue",
}


def counters(document: dict[str, Any]) -> str:
    """One result file as Markdown."""
    about = document["about"]
    lines = [
        "## What the kernels wait for",
        "",
        f"{about['device']}, torch {about['torch']}, Triton {about['triton']}, commit {(about['commit'] or '?')[:12]}, "
        f"{about['date']}; hardware counters of Nsight Compute, forward and backward once. Shares of the peak of "
        "memory, L2 and arithmetic; how often a scheduler issued; warps, of those that a multiprocessor can hold; and "
        f"what a warp waited for between two instructions. Kernels below {SHOWN:.0%} of the time are left out.",
        "",
        "| work | kernel | µs | memory | L2 | arithmetic | issued | warps | registers | waited for |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for piece in document["counters"]:
        total, name = sum(k["us"] for k in piece["kernels"]), piece["work"]
        for k in piece["kernels"]:
            if k["us"] < SHOWN * total:
                continue
            shares = [f"{k[share]:.0f} %" for share in ("memory", "L2", "arithmetic", "issue", "warps")]
            waits = ", ".join(
                f"{WAITS.get(wait, wait.replace('_', ' '))} {share} %" for wait, share in list(k["waits"].items())[:2]
            )
            cells = [name, _short(k["kernel"]), f"{k['us']:.1f}", *shares, str(k["registers"]), waits]
            lines.append(f"| {' | '.join(cells)} |")
            name = ""
    return "\n".join(lines)


def _short(kernel: str) -> str:
    """Ours by their names; of a library's, what it is."""
    if kernel.endswith("_kernel") and "gemm" not in kernel:
        return f"`{kernel.removesuffix('_kernel')}`"
    return "matrix product" if any(mark in kernel for mark in ("gemm", "nvjet")) else "elementwise"

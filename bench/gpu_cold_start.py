"""Times the first calls of a new process: nothing in a cache, then everything. Writes one JSON file.

    python bench/gpu_cold_start.py                       # AXMS x4, d=256, B=16, T=256, float32
    python bench/gpu_cold_start.py --pattern "Ag x2"

Every figure is of a process of its own, in seconds, after torch was imported. `one by one` compiles a kernel when it is
first launched (CORTEXC_REHEARSE=0); `side by side` is what users get; `cached` finds Triton's and our caches full.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
CALLS = ("forward", "forward+backward", "step", "stepper")
STARTS = ("one by one", "side by side", "cached")


def child(pattern: str, call: str) -> None:
    """In a process of its own: prints the seconds of importing and building, and of the first call."""
    import torch

    torch.zeros(1, device="cuda")
    began = time.perf_counter()
    import cortexc

    stack = cortexc.compile(pattern, d_hidden=256, backend="triton", device="cuda")
    x = torch.randn(16, 256, 256, device="cuda")
    torch.cuda.synchronize()
    built = time.perf_counter()
    if call == "forward+backward":
        stack(x)[0].square().mean().backward()
    with torch.no_grad():
        if call == "forward":
            stack(x)
        elif call == "step":
            stack.step(x[:, 0])
        elif call == "stepper":
            stack.stepper(16)(x[:, 0])
    torch.cuda.synchronize()
    print(json.dumps({"build_s": built - began, "first_call_s": time.perf_counter() - built}))


def measure(pattern: str, call: str, start: str, folder: Path) -> dict[str, object]:
    """One process. `folder` holds its caches."""
    environment = os.environ | {
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "CORTEXC_CACHE_DIR": str(folder / "cortexc"),
        "CORTEXC_REHEARSE": "0" if start == "one by one" else "1",
    }
    words = [sys.executable, __file__, "--child", call, "--pattern", pattern]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{call}, {start}: {done.stderr[-2000:]}")
    return {"call": call, "start": start, **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    """Runs the processes one after the other, prints a line each, writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pattern", default="AXMS x4")
    add("--calls", default=",".join(CALLS))
    add("--commit", default=None, help="commit of this tree, where its git folder does not say")
    add("--out", type=Path, default=None, help="result file (default: bench/results/<device>_cold-start.json)")
    add("--child", default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.pattern, args.child)
        return
    from cortexc.benchmark import environment, save

    first_calls = []
    with tempfile.TemporaryDirectory() as root:
        for call in args.calls.split(","):
            for start in STARTS:
                # what was compiled side by side is what the cached process finds
                folder = Path(root) / call / ("one" if start == "one by one" else "all")
                first_calls.append(found := measure(args.pattern, call, start, folder))
                print(f"{call}, {start}: build {found['build_s']:.1f} s, first call {found['first_call_s']:.1f} s")
    where = environment("cuda")
    if args.commit is not None:
        where |= {"commit": args.commit, "dirty": False}
    document = {
        "schema": "cortexc.cold-start/1",
        "pattern": args.pattern,
        "processors": os.cpu_count(),
        "environment": where,
        "first_calls": first_calls,
    }
    name = "".join(c if c.isalnum() else "-" for c in str(where["device"]).lower())
    print(f"wrote {save(document, args.out or RESULTS / f'{name}_cold-start.json')}")


if __name__ == "__main__":
    main()

"""Times a stack on a CPU beside cortexcore and nn.LSTM, in one run: training, steps, and forwards at uneven lengths.

    CORTEXC_PEER_PATH=/tmp/peer python bench/cpu_stack.py     # AXMS x4, d=256, float32; the unpacked cortexcore wheel
    python bench/cpu_stack.py --pattern A --d-hidden 16 --rounds 2 --seconds 1 --out /tmp/try.json
    python bench/table.py                                     # the Markdown tables of all result files

forward+backward at B=4, T=128; one step at B=1 and B=64; forward at T = 63, 64, 65, 127, 128, around lengths where an
implementation in chunks of 64 has its cliffs. Contenders take turns at each piece of work, so that a machine that gets
slower does so for all of them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from peers import cortexcore, torch_lstm
from torch import nn

import cortexc
from cortexc.benchmark import Mode, Outcome, Work, compare, record, save

RESULTS = Path(__file__).parent / "results"
TRAINING: tuple[Mode, ...] = ("forward", "forward+backward")
LENGTHS = (63, 64, 65, 127, 128)


def arguments() -> argparse.Namespace:
    """The flags; the defaults are the work that the README's figures speak of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pattern", default="AXMS x4")
    add("--backends", default="auto", help="comma-separated")
    add("--peers", default="cortexcore,lstm", help="comma-separated, or none")
    add("--d-hidden", type=int, default=256)
    add("--batch", type=int, default=4, help="rows of a sequence")
    add("--step-batches", default="1,64", help="rows of a step, comma-separated")
    add("--dtype", default="float32")
    add("--threads", type=int, default=None, help="of torch (default: its own choice)")
    add("--rounds", type=int, default=20)
    add("--seconds", type=float, default=20.0, help="time at most for one contender and mode")
    add("--out", type=Path, default=None, help="result file (default: bench/results/cpu_<work>.json)")
    return parser.parse_args()


def works(args: argparse.Namespace) -> Iterator[tuple[Work, tuple[Mode, ...]]]:
    """Each piece of work with the modes that are timed on it."""

    def work(batch: int, steps: int) -> Work:
        return Work(args.pattern, args.d_hidden, batch, steps, args.dtype, "cpu")

    for steps in LENGTHS:
        yield work(args.batch, steps), TRAINING if steps == max(LENGTHS) else TRAINING[:1]
    for batch in args.step_batches.split(","):
        yield work(int(batch), 16), ("step", "stepper")


def contenders(work: Work, args: argparse.Namespace) -> dict[str, Callable[[], nn.Module] | None]:
    """Who is timed, ours first; None for a peer that is not installed."""

    def ours(backend: str) -> Callable[[], nn.Module]:
        return lambda: cortexc.compile(work.pattern, d_hidden=work.d_hidden, backend=backend, dtype=work.torch_dtype)

    peers = {"cortexcore": cortexcore(work), "lstm": torch_lstm(work)}
    wanted = [] if args.peers == "none" else args.peers.split(",")
    return {f"cortexc {name}": ours(name) for name in args.backends.split(",")} | {name: peers[name] for name in wanted}


def peer_path(folder: str | None) -> None:
    """Make an unpacked cortexcore wheel importable; transformers, which it imports and does not need here, may be
    missing."""
    if not folder:
        return
    sys.path.insert(0, folder)
    if find_spec("transformers") is None:
        stub: Any = ModuleType("transformers")
        stub.__spec__ = ModuleSpec("transformers", None)
        stub.AutoModelForCausalLM = stub.PreTrainedModel = object
        sys.modules["transformers"] = stub


def line(work: Work, outcome: Outcome) -> str:
    """One contender at one piece of work as a line of text."""
    cells = [f"{t.mode} {t.median_ms:.2f} ms ({t.low_ms:.2f} to {t.high_ms:.2f})" for t in outcome.timings]
    return f"B={work.batch} T={work.seq_len} {outcome.contender}: {', '.join([*cells, outcome.error]).rstrip(', ')}"


def main() -> None:
    """Runs everything, prints a line each, writes the file."""
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    peer_path(os.environ.get("CORTEXC_PEER_PATH"))
    runs = []
    for work, modes in works(args):
        here = contenders(work, args)
        found = [(name, make) for name, make in here.items() if make is not None]
        outcomes = compare(
            found, work, modes=modes, rounds=args.rounds, seconds=args.seconds, same_weights=False, progress=tell
        )
        for outcome in outcomes:
            print(line(work, outcome), flush=True)
        runs.append(record(work, outcomes, missing_peers=[name for name, make in here.items() if make is None]))
    document = {"schema": "cortexc.bench-runs/1", "runs": runs}
    name = "".join(c if c.isalnum() else "-" for c in f"{args.pattern}_d{args.d_hidden}_{args.dtype}".lower())
    print(f"wrote {save(document, args.out or RESULTS / f'cpu_{name}.json')}")
    failed = [o["contender"] for run in runs for o in run["outcomes"] if o["error"]]
    if failed:
        sys.exit(f"could not run: {', '.join(dict.fromkeys(failed))}")


def tell(text: str) -> None:
    """Progress, on the error stream."""
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

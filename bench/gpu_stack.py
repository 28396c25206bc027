"""Times a stack under every backend, and beside its peers, in one run; writes one JSON file.

    python bench/gpu_stack.py                                  # AXMS x4, d=256, B=16, T=256, float32
    python bench/gpu_stack.py --pattern "S x4" --tf32 --backends eager,triton --peers none
    python bench/table.py                                      # the Markdown table of all result files

Forward, forward+backward and one step; CUDA events; warm-up; median of the rounds. It runs on a CPU too.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from peers import cortexcore, torch_lstm, visible_gpu
from torch import nn

import cortexc
from cortexc.benchmark import MODES, Mode, Outcome, Work, compare, record, save

RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    """The flags; the defaults are the work that the README's figures speak of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pattern", default="AXMS x4")
    add("--backends", default="eager,inductor,triton,triton-unrecorded")
    add("--peers", default="cortexcore,cortexcore-compiled,lstm", help="comma-separated, or none")
    add("--modes", default=",".join(MODES))
    add("--d-hidden", type=int, default=256)
    add("--batch", type=int, default=16)
    add("--seq-len", type=int, default=256)
    add("--dtype", default="float32")
    add("--tf32", action="store_true", help="allow TF32 in float32 matrix products")
    add("--device", default="auto")
    add("--rounds", type=int, default=20)
    add("--seconds", type=float, default=20.0, help="time at most for one backend and mode")
    add("--commit", default=None, help="commit of this tree, where its git folder does not say")
    add("--out", type=Path, default=None, help="result file (default: bench/results/<device>_<work>.json)")
    return parser.parse_args()


def contenders(work: Work, backends: str) -> list[tuple[str, Callable[[], nn.Module]]]:
    """Our backends (``triton-unrecorded``: without CUDA graphs); the first one lends its weights to the others."""

    def maker(name: str) -> Callable[[], nn.Module]:
        backend, _, unrecorded = name.partition("-")

        def make() -> nn.Module:
            stack = cortexc.compile(
                work.pattern, d_hidden=work.d_hidden, backend=backend, dtype=work.torch_dtype, device=work.device
            )
            stack.record = not unrecorded
            return stack

        return make

    return [(f"cortexc {name}", maker(name)) for name in backends.split(",")]


def peers(work: Work, names: str) -> tuple[list[tuple[str, Callable[[], nn.Module]]], list[str]]:
    """The peers that are here, and the names of those that are not."""
    made = {
        "cortexcore": cortexcore(work),
        "cortexcore-compiled": cortexcore(work, compiled=True),
        "lstm": torch_lstm(work),
    }
    wanted = [] if names == "none" else names.split(",")
    here = [(name, made[name]) for name in wanted if made[name] is not None]
    return here, [name for name in wanted if made[name] is None]


def line(outcome: Outcome) -> str:
    """One contender as a line of text."""
    cells = [f"{t.mode} {t.median_ms:.3f} ms (first {t.first_call_s:.1f} s)" for t in outcome.timings]
    if outcome.relative_error is not None:
        cells.append(f"relative error {outcome.relative_error:.1e}")
    return f"{outcome.contender}: {', '.join([*cells, *([outcome.error] if outcome.error else [])])}"


def main() -> None:
    """Runs everything, prints a line each, writes the file."""
    args = arguments()
    device = visible_gpu() if args.device == "auto" else args.device
    work = Work(args.pattern, args.d_hidden, args.batch, args.seq_len, args.dtype, device, args.tf32)
    modes: list[Mode] = [mode for mode in MODES if mode in args.modes.split(",")]
    limits = {"modes": modes, "rounds": args.rounds, "seconds": args.seconds}

    def tell(text: str) -> None:
        print(f"... {text}", file=sys.stderr, flush=True)

    outcomes = compare(contenders(work, args.backends), work, progress=tell, **limits)
    here, missing = peers(work, args.peers)
    outcomes += compare(here, work, same_weights=False, progress=tell, **limits)
    document = record(work, outcomes, missing_peers=missing)
    if args.commit is not None:
        document["environment"] |= {"commit": args.commit, "dirty": False}
    for outcome in outcomes:
        print(line(outcome))
    if missing:
        print(f"not installed: {', '.join(missing)}")
    print(f"wrote {save(document, args.out or default_path(work, document['environment']['device']))}")
    wrong = [o for o in outcomes if o.relative_error is not None and not o.relative_error <= work.tolerance]
    failed = [o.contender for o in outcomes if o.error and o.contender.startswith("cortexc ")]
    if failed:
        sys.exit(f"could not run: {', '.join(failed)}")
    if wrong:
        sys.exit(f"out of tolerance ({work.tolerance:.0e}): {', '.join(o.contender for o in wrong)}")


def default_path(work: Work, device: str) -> Path:
    """A name that says what was measured where."""
    parts = [device, work.pattern, f"d{work.d_hidden}", f"B{work.batch}", f"T{work.seq_len}", work.dtype]
    text = "_".join([*parts, *(["tf32"] if work.tf32 else [])]).lower()
    return RESULTS / ("".join(c if c.isalnum() or c == "_" else "-" for c in text) + ".json")


if __name__ == "__main__":
    main()

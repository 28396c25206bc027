"""On a GPU: are the Triton kernels right at real sizes, and how fast are they?

    PYTHONPATH=src python bench/gpu_recurrences.py [--only checks,times,peers] [--part 0/8] [--out FILE]

Right: against the reference in float64 on the same numbers, relative norm, outputs, final state, traces and every
gradient; and 200 runs of each give the same bits. Fast: CUDA events, median, forward alone and forward with backward;
`bound` is the time to move the bytes that must move, at the copy rate measured in the same run. Peers: torch's LSTM and
GRU (cuDNN) beside ours with the same input product; FlashRNN's Triton kernels, if installed, beside our loops.
`--part i/n` runs every n-th job only: several such processes side by side fill Triton's cache before a timed run.
`--only small` is for sanitizers:

    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck python bench/gpu_recurrences.py --only small
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from gpu_work import (
    RECURRENCES,
    ROWS,
    Job,
    Shape,
    Work,
    about,
    agalite,
    arguments,
    captured,
    conv,
    copy_rate,
    gradients,
    load,
    median_ms,
    recurrence,
    tell,
)
from torch import Tensor

from cortexc.kernels.recurrence import RecurrenceOp

LIMIT = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}
RUNS = 200  # of the same input, which must give the same bits


def check(op: RecurrenceOp, shape: Shape, dtype: torch.dtype, resets: bool, runs: int = RUNS) -> bool:
    torch.manual_seed(0)
    given = arguments(op, shape, dtype, resets, traces=op.cell.traced > 0)
    outputs, last, _ = op.sequence(*given, impl="triton")
    seeds = [torch.randn_like(t) for t in (*outputs, *last)]
    if dtype != torch.float32:
        # sLSTM's final c, n, m depend on which side its maximum took; rounded operands decide near-ties otherwise than
        # float64 does, and a loss on them would count that. Its outputs do not depend on it.
        seeds = [*seeds[: len(outputs)], *(torch.zeros_like(s) for s in seeds[len(outputs) :])]
    found, grads = gradients(op, given, seeds, "triton")
    wide = [_double(t) for t in given]
    right, wanted = gradients(op, wide, [s.double() for s in seeds], "torch")
    errors = relative([*found, *grads], [*right, *wanted])

    def again() -> list[Tensor]:
        values, bits = gradients(op, given, seeds, "triton")
        return [*values, *bits]

    what = {"check": op.cell.name, "shape": str(shape), "dtype": str(dtype)[6:], "resets": resets}
    return judge(what, errors, len(found), max(errors) < LIMIT[dtype], [*found, *grads], again, runs)


def judge(
    what: dict, errors: list[float], values: int, right: bool, found: list[Tensor], again: Callable, runs: int
) -> bool:
    """A row: the errors of `values` values and of the gradients after them, and runs that gave another bit."""
    moved = sum(not all(torch.equal(a, b) for a, b in zip(found, again(), strict=True)) for _ in range(runs))
    of_values, of_gradients = max(errors[:values]), max(errors[values:])
    tell(**what, values=of_values, gradients=of_gradients, right=right, runs=runs, runs_that_moved=moved)
    return right and not moved


def check_part(make: Callable[[Shape, torch.dtype], Work], shape: Shape, dtype: torch.dtype, runs: int = RUNS) -> bool:
    """The same for work that brings its own float64.

    AGaLiTe's outputs hardly change when features are scaled, so the features' gradients cancel: in float32 those of
    torch alone were seen off by 6e-5 to 6e-3, by the draw. An error may be ten times what float32 itself leaves."""
    torch.manual_seed(0)
    work = make(shape, dtype)
    assert work.plain is not None

    def again() -> list[Tensor]:
        return [work.forward(), *work.both()]

    found, exact = again(), work.plain(torch.float64)
    errors, left = relative(found, exact), relative(work.plain(torch.float32), exact)
    right = all(e < max(LIMIT[dtype], 10 * rest) for e, rest in zip(errors, left, strict=True))
    what = {"check": make.__name__, "shape": str(shape), "dtype": str(dtype)[6:], "resets": False}
    return judge(what, errors, 1, right, found, again, runs)


def _double(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_double(v) for v in value)
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().double().requires_grad_(value.requires_grad)
    return value


def relative(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    """Of each tensor, the norm of its error over that of what is exact."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, exact, strict=True)]
    return [((a - b).norm() / b.norm().clamp_min(1e-30)).item() for a, b in pairs]


def time(name: str, work: Work, shape: Shape, dtype: torch.dtype, *, bounded: bool, resets: bool = False) -> None:
    """Launched, and as graphs; where nothing but bytes need take time, beside the time to move them."""
    what = {"shape": str(shape), "dtype": str(dtype)[6:], "resets": resets}
    tokens = shape.rows * shape.steps
    with torch.no_grad():
        launched = median_ms(work.forward)
    row: dict = {"time": name, **what, "forward_ms": launched, "us_a_step": 1e3 * launched / shape.steps}
    row["both_ms"] = median_ms(work.both)
    row["both_graph_ms"] = median_ms(captured(work.replayed).replay)
    with torch.no_grad():
        row["forward_graph_ms"] = median_ms(captured(work.kept).replay)
    if not bounded:
        tell(**row)
        return
    rate = copy_rate() / tokens
    row["forward_bound_ms"] = (work.bytes_forward + work.bytes_kept) / rate
    row["both_bound_ms"] = row["forward_bound_ms"] + work.bytes_backward / rate
    tell(**row)
    if work.bytes_kept:
        with torch.no_grad():
            alone = median_ms(captured(work.forward).replay)
        bound = work.bytes_forward / rate
        tell(time=f"{name}, nothing kept", **what, forward_graph_ms=alone, forward_bound_ms=bound)


def peer(name: str, shape: Shape, dtype: torch.dtype, op: RecurrenceOp) -> None:
    """torch's own module, cuDNN below it, and ours with the same product in front; one layer, all of it."""
    width, gates = shape.width, {"lstm": 4, "gru": 3}[name]
    x = torch.randn(shape.rows, shape.steps, width, device="cuda", dtype=dtype, requires_grad=True)
    d = torch.randn_like(x)
    net = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[name](width, width, batch_first=True).to("cuda", dtype)
    weight = torch.randn(gates * width, width, device="cuda", dtype=dtype).mul_(width**-0.5).requires_grad_()
    bias = torch.zeros(gates * width, device="cuda", dtype=dtype, requires_grad=True)
    params = tuple(torch.zeros(width, device="cuda", requires_grad=True) for _ in op.cell.params)
    recurrent = torch.randn(1, gates, width, width, device="cuda").mul_(width**-0.5).to(dtype).requires_grad_()
    leaves = [x, weight, bias, recurrent, *params]

    def ours() -> Tensor:
        given = torch.nn.functional.linear(x, weight, bias).unflatten(-1, (gates, width))
        return op.sequence(given, params, recurrent)[0][0]

    def both() -> object:
        return torch.autograd.grad(ours(), leaves, d)

    row: dict = {"peer": name, "shape": str(shape), "dtype": str(dtype)[6:]}
    row["tf32"] = torch.backends.cuda.matmul.allow_tf32
    with torch.no_grad():
        row["cudnn_forward_ms"], row["forward_ms"] = median_ms(lambda: net(x)), median_ms(ours)
    row["cudnn_both_ms"] = median_ms(lambda: torch.autograd.grad(net(x)[0], [x, *net.parameters()], d))
    row["both_ms"] = median_ms(both)
    row["both_graph_ms"] = median_ms(captured(both).replay)
    row["times_faster"] = row["cudnn_both_ms"] / row["both_ms"]
    tell(**row)


def flashrnn(name: str, shape: Shape, dtype: torch.dtype, op: RecurrenceOp) -> None:
    """FlashRNN's Triton kernels, where they are installed, and ours on the same gates: the loop alone."""
    if importlib.util.find_spec("flashrnn") is None:
        print("flashrnn is not installed: not measured")
        return
    from flashrnn import flashrnn as run

    given = arguments(op, shape, dtype, False, traces=False)
    x, weight, state = given[0], given[2], tuple(s.detach() for s in given[3])
    with torch.no_grad():  # a graph that lives on this stream would take part in the capture of others
        d = torch.randn_like(op.sequence(x, (), weight, state, impl="triton")[0][0])
    wx = x.detach().unflatten(-1, (shape.heads, shape.width)).contiguous().requires_grad_()
    theirs = weight.detach().transpose(0, 1).contiguous().requires_grad_()
    bias = torch.zeros(len(op.cell.gates), shape.heads, shape.width, device="cuda", dtype=dtype, requires_grad=True)

    def peer_forward() -> Tensor:
        return run(wx, theirs, bias, function=name, backend="triton_fused", dtype=str(dtype)[6:])[0][0]

    def peer_both() -> object:
        y = peer_forward()
        return torch.autograd.grad(y, [wx, theirs, bias], d.view_as(y))

    def ours() -> Tensor:
        return op.sequence(x, (), weight, state, impl="triton")[0][0]

    def both() -> object:
        return torch.autograd.grad(ours(), [x, weight], d)

    row: dict = {"flashrnn": name, "shape": str(shape), "dtype": str(dtype)[6:]}
    with torch.no_grad():
        row["forward_ms"], row["forward_graph_ms"] = median_ms(ours), median_ms(captured(ours).replay)
    row["both_ms"], row["both_graph_ms"] = median_ms(both), median_ms(captured(both).replay)
    try:
        with torch.no_grad():
            row["peer_forward_ms"] = median_ms(peer_forward)
        row["peer_both_ms"] = median_ms(peer_both)
        row["peer_both_graph_ms"] = median_ms(captured(peer_both).replay)
    except Exception as error:  # widths that the peer has no kernel for are a line of the table
        row["peer_failed"] = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    tell(**row)


HALF, FULL = torch.bfloat16, torch.float32
AGALITE = (Shape(16, 256, 8, 32), Shape(8, 4096, 8, 128))


def checks(ops: dict[str, RecurrenceOp]) -> list[Job]:
    jobs: list[Job] = []
    for name, shape in (
        ("slstm", Shape(16, 64, 4, 64)),
        ("slstm", Shape(5, 33, 4, 128)),
        ("slstm", Shape(7, 20, 4, 512)),
        ("lstm", Shape(17, 33, 2, 40)),
        ("lstm", Shape(16, 64, 1, 256)),
        ("lstm", Shape(70, 9, 1, 256)),
        ("lstm", Shape(3, 33, 1, 300)),
        ("gru", Shape(17, 33, 1, 256)),
        ("gru", Shape(17, 33, 2, 40)),
        ("axon", Shape(16, 256, 1, 256)),
        ("axon", Shape(3, 77, 1, 37)),
        ("axon", Shape(1, 5000, 1, 64)),
        ("axon", Shape(1, 65536, 1, 16)),
        ("lstm", Shape(4096, 2, 1, 256)),
        ("slstm", Shape(4096, 3, 4, 64)),
    ):
        jobs += [partial(check, ops[name], shape, dtype, True) for dtype in (FULL, HALF)]
    jobs += [partial(check, ops[name], Shape(4, 70, 1, 256), FULL, False) for name in ("axon", "lstm")]
    for dtype in (FULL, HALF):
        for shape in (Shape(3, 77, 2, 37), Shape(2, 512, 8, 128)):
            jobs += [partial(check_part, agalite, shape, dtype), partial(check_part, conv, shape, dtype)]
    return [*jobs, partial(far, ops["axon"])]


def far(op: RecurrenceOp) -> bool:
    """Places beyond 2**31: the last row of a large batch is that row by itself, to the bit."""
    shape = Shape(36, 65536, 1, 1024)
    x, *rest = arguments(op, shape, HALF, False, traces=False)
    with torch.no_grad():
        whole = op.sequence(x, *rest, impl="triton")[0]
        state = tuple(s[-1:] for s in rest[2])
        alone = op.sequence(x[-1:], rest[0], None, state, (), None, impl="triton")[0]
    right = max(relative([a[-1:] for a in whole], list(alone))) < 1e-5
    tell(check="places beyond 2**31", shape=str(shape), numbers=x.numel(), right=right)
    return right


def small(ops: dict[str, RecurrenceOp]) -> list[Job]:
    """Every schedule once, at sizes that a sanitizer can follow."""
    shapes = {
        "slstm": Shape(3, 4, 2, 40),
        "lstm": Shape(17, 4, 1, 200),
        "gru": Shape(3, 4, 1, 300),
        "axon": Shape(2, 70, 1, 40),
    }
    jobs: list[Job] = []
    for dtype in (FULL, HALF):
        jobs += [partial(check, ops[n], s, dtype, True, runs=1) for n, s in shapes.items()]
        shape = Shape(2, 70, 2, 24)
        jobs += [partial(check_part, agalite, shape, dtype, runs=1), partial(check_part, conv, shape, dtype, runs=1)]
    return jobs


def timed(op: RecurrenceOp, shape: Shape, dtype: torch.dtype, resets: bool = False) -> None:
    work = recurrence(op, shape, dtype, resets)
    time(op.cell.name, work, shape, dtype, bounded=op.cell.recurrent is None, resets=resets)


def timed_part(make: Callable[[Shape, torch.dtype], Work], shape: Shape, dtype: torch.dtype) -> None:
    time(make.__name__, make(shape, dtype), shape, dtype, bounded=True)


def times(ops: dict[str, RecurrenceOp]) -> list[Job]:
    jobs: list[Job] = []
    for shape in (Shape(16, 256, 4, 64), Shape(64, 64, 4, 64)):
        jobs += [partial(timed, ops["slstm"], shape, HALF, resets) for resets in (False, True)]
        jobs += [partial(timed, ops["slstm"], shape, FULL)]
    jobs += [partial(timed, ops["slstm"], Shape(16, 256, 4, width), HALF) for width in (128, 256, 512)]
    for shape in (Shape(16, 256, 1, 256), Shape(8, 4096, 1, 1024)):
        jobs += [partial(timed, ops["axon"], shape, dtype) for dtype in (FULL, HALF)]
    for resets in (False, True):
        jobs += [partial(timed, ops["lstm"], Shape(16, 256, 1, 256), HALF, resets)]
    jobs += [partial(timed, ops[name], Shape(16, 256, 4, 64), HALF) for name in ("lstm", "gru")]
    jobs += [
        partial(timed_part, conv, shape, dtype)
        for shape in (Shape(16, 256, 1, 512), Shape(8, 4096, 1, 1024))
        for dtype in (FULL, HALF)
    ]
    jobs += [partial(timed_part, agalite, shape, dtype) for shape in AGALITE for dtype in (FULL, HALF)]
    return jobs


def peers(ops: dict[str, RecurrenceOp]) -> list[Job]:
    def tf32(job: Job) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        job()
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    jobs: list[Job] = []
    for shape in (Shape(16, 256, 1, 256), Shape(8, 1024, 1, 512)):
        for name in ("lstm", "gru"):
            jobs += [partial(peer, name, shape, dtype, ops[name]) for dtype in (HALF, FULL, torch.float16)]
            jobs += [partial(tf32, partial(peer, name, shape, FULL, ops[name]))]
    for shape in (Shape(16, 256, 4, 64), Shape(64, 64, 4, 64), Shape(16, 256, 4, 128), Shape(16, 256, 4, 256)):
        jobs += [partial(flashrnn, name, shape, HALF, ops[name]) for name in ("slstm", "lstm")]
    return jobs


PARTS = {"checks": checks, "small": small, "times": times, "peers": peers}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="checks,times,peers", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--commit", default=None)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    where = about(wanted.commit)
    print(where, flush=True)
    torch.backends.cudnn.allow_tf32 = False  # as matmul's: both or neither
    ops = {name: load(rec).OP for name, rec in RECURRENCES.items()}
    jobs = [job for name in wanted.only.split(",") for job in PARTS[name](ops)]
    place, parts = map(int, wanted.part.split("/"))
    wrong = sum(job() is False for job in jobs[place::parts])
    if wanted.out:
        wanted.out.write_text(json.dumps({"about": where, "rows": ROWS}, indent=1) + "\n")
    print(f"{wrong} wrong" if wrong else "all right")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

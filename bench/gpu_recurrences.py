"""On a GPU: are the Triton kernels right at real sizes, and how fast are they?

    PYTHONPATH=src python bench/gpu_recurrences.py [--only checks,times,peers,sweeps] [--part 0/8] [--out FILE]

Right: against the reference in float64 on the same numbers, relative norm, outputs, final state, traces and every
gradient; and 200 runs of each give the same bits. Fast: CUDA events, median, forward alone and forward with backward;
`bound` is the time to move the bytes that must move, at the copy rate measured in the same run. Peers: torch's LSTM and
GRU (cuDNN) beside ours with the same input product; FlashRNN's Triton kernels, if installed, beside our loops. `sweeps`
times the tile choices. `--part i/n` runs every n-th job only: several such processes side by side fill Triton's cache
before a timed run. `--only small` is for sanitizers:

    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck python bench/gpu_recurrences.py --only small
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from cortexc.compiler.library.recurrences import agalite as agalite_of
from cortexc.compiler.library.recurrences import axon, gru, lstm, slstm
from cortexc.compiler.recurrence import Recurrence, emit_module
from cortexc.compiler.recurrence.cost import cost
from cortexc.kernels import causal_conv
from cortexc.kernels.recurrence import RecurrenceOp, tiles
from cortexc.kernels.recurrence.cell import Inputs
from cortexc.kernels.recurrence.engine import run_backward, run_forward

LIMIT = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}
RUNS = 200  # of the same input, which must give the same bits
RECURRENCES = {rec.name: rec for rec in (slstm, axon, lstm, gru)}
ROWS: list[dict] = []  # what --out keeps


def tell(**row: object) -> None:
    """Print a row and keep it."""
    ROWS.append(row)
    print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)


def copy_rate() -> float:
    """Bytes a millisecond that a large copy moves, read and written."""
    source = torch.empty(1 << 29, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / median_ms(lambda: target.copy_(source))


@dataclass(frozen=True)
class Shape:
    """B rows, T steps, N heads of width D."""

    rows: int
    steps: int
    heads: int
    width: int

    def __str__(self) -> str:
        return f"[{self.rows},{self.steps},{self.heads}x{self.width}]"


def load(rec: Recurrence) -> ModuleType:
    path = Path(tempfile.gettempdir()) / f"generated_{rec.name}.py"  # one place, so that Triton's cache is found again
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(emit_module(rec))
    draft.replace(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def arguments(op: RecurrenceOp, shape: Shape, dtype: torch.dtype, resets: bool, traces: bool) -> list:
    """Fresh random inputs: x, params, weight, state, traces, resets."""
    cell, width = op.cell, shape.heads * shape.width

    def draw(*size: int, scale: float = 1.0, of: torch.dtype = torch.float32) -> Tensor:
        return (scale * torch.randn(*size, device="cuda")).to(of).requires_grad_()

    x = draw(shape.rows, shape.steps, len(cell.inputs), width, of=dtype)
    params = tuple(draw(width, scale=0.3) for _ in cell.params)
    weight = None
    if cell.recurrent is not None:
        weight = draw(shape.heads, len(cell.gates), shape.width, shape.width, scale=shape.width**-0.5, of=dtype)
    state = tuple(draw(shape.rows, width, scale=0.5).detach().abs().requires_grad_() for _ in cell.state)
    held = tuple(draw(shape.rows, width).detach() for _ in range(cell.traced)) if traces else ()
    mask = torch.rand(shape.rows, shape.steps, device="cuda") < 0.02 if resets else None
    return [x, params, weight, state, held, mask]


def gradients(op: RecurrenceOp, given: list, seeds: list[Tensor], impl: str) -> tuple[list[Tensor], list[Tensor]]:
    outputs, last, traces = op.sequence(*given, impl=impl)
    leaves = [t for t in (given[0], *given[1], given[2], *given[3]) if t is not None]
    results = [*outputs, *last]
    seeds = [s.to(r.dtype) for s, r in zip(seeds, results, strict=True)]
    return [*results, *traces], list(torch.autograd.grad(results, leaves, seeds))


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
    errors = [_relative(a, b) for a, b in zip([*found, *grads], [*right, *wanted], strict=True)]
    passed = max(errors) < LIMIT[dtype]
    moved = 0
    for _ in range(runs):
        again, bits = gradients(op, given, seeds, "triton")
        moved += not all(torch.equal(a, b) for a, b in zip([*found, *grads], [*again, *bits], strict=True))
    tell(
        check=op.cell.name,
        shape=str(shape),
        dtype=str(dtype)[6:],
        resets=resets,
        values=max(errors[: len(found)]),
        gradients=max(errors[len(found) :]),
        right=passed,
        runs=runs,
        runs_that_moved=moved,
    )
    return passed and not moved


def _double(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_double(v) for v in value)
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().double().requires_grad_(value.requires_grad)
    return value


def _relative(a: Tensor, b: Tensor) -> float:
    return ((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-30)).item()


def median_ms(run: Callable[[], object], repeat: int = 20) -> float:
    for _ in range(3):
        run()
    times = []
    for _ in range(repeat):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def bare(op: RecurrenceOp, given: list, seeds: list[Tensor] | None) -> Callable[[], object]:
    """Forward and, with `seeds`, backward without autograd, as a CUDA graph can capture them."""
    cell, inputs = op.cell, Inputs(*given)
    count = len(cell.outputs)

    @torch.no_grad()
    def run() -> object:
        found, _ = run_forward(cell, inputs, "triton", keep=True)
        if seeds is None:
            return found
        attached = [True] * len(cell.state)
        return run_backward(cell, inputs, "triton", found.kept, seeds[:count], seeds[count:], attached)

    return run


def captured(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """The same work as one CUDA graph: what is left when launching costs nothing."""
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        run()
    return graph


def time(op: RecurrenceOp, shape: Shape, dtype: torch.dtype, resets: bool = False, note: str = "") -> None:
    given = arguments(op, shape, dtype, resets, traces=False)
    row: dict = {"time": op.cell.name, "shape": str(shape), "dtype": str(dtype)[6:], "resets": resets, "note": note}
    bytes_ = cost(RECURRENCES[op.cell.name], width=shape.heads * shape.width, itemsize=dtype.itemsize)
    tokens = shape.rows * shape.steps
    try:
        with torch.no_grad():
            row["forward_ms"] = median_ms(lambda: op.sequence(*given, impl="triton"))
        row["us_a_step"] = 1e3 * row["forward_ms"] / shape.steps
        outputs, last, _ = op.sequence(*given, impl="triton")
        seeds = [torch.randn_like(t) for t in (*outputs, *last)]
        row["both_ms"] = median_ms(lambda: gradients(op, given, seeds, "triton"))
        row["both_graph_ms"] = median_ms(captured(bare(op, given, seeds)).replay)
        row["forward_graph_ms"] = median_ms(captured(bare(op, given, None)).replay)
        if op.cell.recurrent is None:
            rate = copy_rate()
            row["forward_bound_ms"] = tokens * (bytes_.bytes_forward + bytes_.bytes_kept) / rate
            row["both_bound_ms"] = row["forward_bound_ms"] + tokens * bytes_.bytes_backward / rate
    except Exception as error:  # a tile choice that does not fit is a line of the sweep, not its end
        row["failed"] = f"{type(error).__name__}: {str(error)[:120]}"
    tell(**row)


def agalite(shape: Shape, dtype: torch.dtype) -> None:
    """AGaLiTe of rank 2 with 6 features a head, as in its core; forward without and with what a backward reads."""
    terms, features = 2, 6
    rec = agalite_of(terms, 1e-5)
    op = load(rec).OP
    lead, width = (shape.rows, shape.steps, shape.heads), shape.width
    x = torch.randn(*lead, 5, width, device="cuda").to(dtype).requires_grad_()
    f = torch.randn(*lead, 3, features, device="cuda").to(dtype).requires_grad_()
    waves = torch.ones(*lead, terms // 2, device="cuda", dtype=dtype)
    sizes = {"d": (width,), "ed": (features, width)}
    state = tuple(torch.zeros(shape.rows, shape.heads, *sizes[axes], device="cuda") for axes in op.cell.state_axes)
    given = [x, (), None, state, (), None, (f, waves)]
    bytes_ = cost(rec, width=shape.heads * width, head_width=width, features=features, itemsize=dtype.itemsize)
    rate = copy_rate() / (shape.rows * shape.steps)

    def forward() -> Tensor:
        return op.sequence((x, f, waves), (), None, state, impl="triton")[0][0]

    d = torch.randn_like(forward())

    def both() -> object:
        return torch.autograd.grad(forward(), [x, f], d)

    what = {"shape": str(shape), "dtype": str(dtype)[6:]}
    row: dict = {"time": "agalite", **what}
    with torch.no_grad():
        row["forward_ms"], alone = median_ms(forward), median_ms(captured(forward).replay)
    row["both_ms"], row["both_graph_ms"] = median_ms(both), median_ms(captured(both).replay)
    row["forward_graph_ms"] = median_ms(captured(bare(op, given, None)).replay)
    row["forward_bound_ms"] = (bytes_.bytes_forward + bytes_.bytes_kept) / rate
    row["both_bound_ms"] = row["forward_bound_ms"] + bytes_.bytes_backward / rate
    tell(**row)
    bound = bytes_.bytes_forward / rate
    tell(time="agalite, nothing kept", **what, forward_graph_ms=alone, forward_bound_ms=bound)


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


def conv(shape: Shape, dtype: torch.dtype) -> None:
    """The depthwise causal convolution of mLSTM and sLSTM: 4 taps."""
    width = shape.width
    x = torch.randn(shape.rows, shape.steps, width, device="cuda", dtype=dtype, requires_grad=True)
    carried = torch.zeros(shape.rows, 4, width, device="cuda", dtype=dtype)
    weight = torch.randn(width, 1, 4, device="cuda", dtype=dtype, requires_grad=True)
    bias, d = torch.zeros(width, device="cuda", dtype=dtype, requires_grad=True), torch.randn_like(x)

    def forward() -> Tensor:
        return causal_conv(x, carried, weight, bias)[0]

    def both() -> object:
        return torch.autograd.grad(forward(), [x, weight, bias], d)

    moved = x.numel() * x.element_size() / copy_rate()
    row: dict = {"time": "conv", "shape": str(shape), "dtype": str(dtype)[6:]}
    with torch.no_grad():
        row["forward_graph_ms"] = median_ms(captured(forward).replay)
    row["both_graph_ms"] = median_ms(captured(both).replay)
    tell(**row, forward_bound_ms=2 * moved, both_bound_ms=5 * moved)


Job = Callable[[], object]
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
    return [*jobs, partial(far, ops["axon"])]


def far(op: RecurrenceOp) -> bool:
    """Places beyond 2**31: the last row of a large batch is that row by itself, to the bit."""
    shape = Shape(36, 65536, 1, 1024)
    x, *rest = arguments(op, shape, HALF, False, traces=False)
    with torch.no_grad():
        whole = op.sequence(x, *rest, impl="triton")[0]
        state = tuple(s[-1:] for s in rest[2])
        alone = op.sequence(x[-1:], rest[0], None, state, (), None, impl="triton")[0]
    right = all(_relative(a[-1:], b) < 1e-5 for a, b in zip(whole, alone, strict=True))
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
    return [partial(check, ops[n], s, dtype, True, runs=1) for n, s in shapes.items() for dtype in (FULL, HALF)]


def times(ops: dict[str, RecurrenceOp]) -> list[Job]:
    jobs: list[Job] = []
    for shape in (Shape(16, 256, 4, 64), Shape(64, 64, 4, 64)):
        jobs += [partial(time, ops["slstm"], shape, HALF, resets) for resets in (False, True)]
        jobs += [partial(time, ops["slstm"], shape, FULL)]
    jobs += [partial(time, ops["slstm"], Shape(16, 256, 4, width), HALF) for width in (128, 256, 512)]
    for shape in (Shape(16, 256, 1, 256), Shape(8, 4096, 1, 1024)):
        jobs += [partial(time, ops["axon"], shape, dtype) for dtype in (FULL, HALF)]
    for resets in (False, True):
        jobs += [partial(time, ops["lstm"], Shape(16, 256, 1, 256), HALF, resets)]
    jobs += [partial(time, ops[name], Shape(16, 256, 4, 64), HALF) for name in ("lstm", "gru")]
    jobs += [
        partial(conv, shape, dtype)
        for shape in (Shape(16, 256, 1, 512), Shape(8, 4096, 1, 1024))
        for dtype in (FULL, HALF)
    ]
    jobs += [partial(agalite, shape, dtype) for shape in AGALITE for dtype in (FULL, HALF)]
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


PARTS = {"checks": checks, "small": small, "times": times, "peers": peers, "sweeps": sweeps}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="checks,times,peers", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--commit", default=None)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": sys.modules["triton"].__version__,
        "cudnn": torch.backends.cudnn.version(),
        "commit": wanted.commit,
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(about, flush=True)
    torch.backends.cudnn.allow_tf32 = False  # as matmul's: both or neither
    ops = {name: load(rec).OP for name, rec in RECURRENCES.items()}
    jobs = [job for name in wanted.only.split(",") for job in PARTS[name](ops)]
    place, parts = map(int, wanted.part.split("/"))
    wrong = sum(job() is False for job in jobs[place::parts])
    if wanted.out:
        wanted.out.write_text(json.dumps({"about": about, "rows": ROWS}, indent=1) + "\n")
    print(f"{wrong} wrong" if wrong else "all right")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

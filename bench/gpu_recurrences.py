"""On a GPU: are the Triton kernels right at real sizes, and how fast are they?

    PYTHONPATH=src python bench/gpu_recurrences.py [--sweep] [--part 0/8]

Right: against the reference in float64 on the same numbers, relative norm, outputs, final state, traces and every
gradient. Fast: CUDA events, median, forward alone and forward with backward. `--sweep` times the tile choices.
`--part i/n` runs every n-th job only: several such processes side by side fill Triton's cache before a timed run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from cortexc.compiler.library.recurrences import axon, gru, lstm, slstm
from cortexc.compiler.recurrence import Recurrence, emit_module
from cortexc.kernels.recurrence import RecurrenceOp, launch
from cortexc.kernels.recurrence.cell import Inputs
from cortexc.kernels.recurrence.engine import run_backward, run_forward

LIMIT = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}


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


def check(op: RecurrenceOp, shape: Shape, dtype: torch.dtype, resets: bool) -> bool:
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
    same = all(torch.equal(a, b) for a, b in zip(grads, gradients(op, given, seeds, "triton")[1], strict=True))
    print(
        f"{op.cell.name:6} {shape!s:16} {str(dtype)[6:]:9} resets={resets!s:5} values {max(errors[: len(found)]):.1e} "
        f"gradients {max(errors[len(found) :]):.1e} {'ok' if passed else 'WRONG'} {'same bits' if same else 'MOVING'}",
        flush=True,
    )
    return passed and same


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


def bare(op: RecurrenceOp, given: list, seeds: list[Tensor]) -> Callable[[], object]:
    """Forward and backward without autograd, as a CUDA graph can capture them."""
    cell, inputs = op.cell, Inputs(*given)
    count = len(cell.outputs)

    @torch.no_grad()
    def run() -> object:
        found, _ = run_forward(cell, inputs, "triton", keep=True)
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


def profile(op: RecurrenceOp, shape: Shape, dtype: torch.dtype) -> None:
    """Where the time of one forward with backward goes: kernels on the device, calls on the host."""
    given = arguments(op, shape, dtype, False, traces=False)
    outputs, last, _ = op.sequence(*given, impl="triton")
    seeds = [torch.randn_like(t) for t in (*outputs, *last)]
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as found:
        for _ in range(5):
            gradients(op, given, seeds, "triton")
        torch.cuda.synchronize()
    for key in ("self_cuda_time_total", "self_cpu_time_total"):
        print(found.key_averages().table(sort_by=key, row_limit=14, max_name_column_width=40), flush=True)


def time(op: RecurrenceOp, shape: Shape, dtype: torch.dtype, resets: bool = False, note: str = "") -> None:
    given = arguments(op, shape, dtype, resets, traces=False)
    try:
        with torch.no_grad():
            alone = median_ms(lambda: op.sequence(*given, impl="triton"))
        outputs, last, _ = op.sequence(*given, impl="triton")
        seeds = [torch.randn_like(t) for t in (*outputs, *last)]
        both = median_ms(lambda: gradients(op, given, seeds, "triton"))
        replayed = median_ms(captured(bare(op, given, seeds)).replay)
        figures = f"forward {alone:.3f}  forward+backward {both:.3f}, as a CUDA graph {replayed:.3f} ms"
    except Exception as error:  # a tile choice that does not fit is a line of the sweep, not its end
        figures = f"failed: {type(error).__name__}: {str(error)[:80]}"
    print(f"{op.cell.name:6} {shape!s:16} {str(dtype)[6:]:9} resets={resets!s:5} {note:24} {figures}", flush=True)


Job = Callable[[], object]


def checks(ops: dict[str, RecurrenceOp]) -> list[Job]:
    jobs: list[Job] = []
    for name, shape, masks in (
        ("slstm", Shape(16, 256, 4, 64), (False, True)),
        ("slstm", Shape(64, 64, 4, 64), (True,)),
        ("axon", Shape(16, 256, 1, 256), (False, True)),
        ("axon", Shape(3, 77, 1, 37), (True,)),
        ("lstm", Shape(17, 33, 2, 40), (True,)),
        ("gru", Shape(17, 33, 2, 40), (True,)),
    ):
        for dtype in (torch.float32, torch.bfloat16):
            jobs += [partial(check, ops[name], shape, dtype, resets) for resets in masks]
    return jobs


def times(ops: dict[str, RecurrenceOp]) -> list[Job]:
    jobs: list[Job] = []
    for shape in (Shape(16, 256, 4, 64), Shape(64, 64, 4, 64)):
        jobs += [partial(time, ops["slstm"], shape, torch.bfloat16, resets) for resets in (False, True)]
        jobs += [partial(time, ops["slstm"], shape, torch.float32)]
    jobs += [partial(time, ops["slstm"], Shape(16, 256, 4, 128), torch.bfloat16)]
    for shape in (Shape(16, 256, 1, 256), Shape(8, 4096, 1, 1024)):
        jobs += [partial(time, ops["axon"], shape, torch.float32)]
        jobs += [partial(time, ops["axon"], shape, torch.bfloat16)]
    jobs += [partial(time, ops["lstm"], Shape(16, 256, 4, 64), torch.bfloat16)]
    jobs += [partial(time, ops["gru"], Shape(16, 256, 4, 64), torch.bfloat16)]
    return jobs


def sweeps(ops: dict[str, RecurrenceOp]) -> list[Job]:
    """Times of the tile choices."""
    jobs: list[Job] = []
    for forward, backward in ((4, 4), (8, 8), (4, 16)):
        warps = {"forward": forward, "backward": backward}
        note = f"warps {forward},{backward}"
        for shape in (Shape(16, 256, 4, 64), Shape(64, 64, 4, 64)):
            jobs += [partial(_with, launch.WARPS, warps, partial(time, ops["slstm"], shape, torch.bfloat16, note=note))]
    for choice in ((64, 32, 4), (64, 64, 8), (32, 32, 4), (32, 16, 4), (64, 16, 8)):
        tiles = dict.fromkeys(("scan_forward", "scan_backward"), choice)
        for shape in (Shape(16, 256, 1, 256), Shape(8, 4096, 1, 1024)):
            run = partial(time, ops["axon"], shape, torch.float32, note=f"scan {choice}")
            jobs += [partial(_with, launch.SCAN_TILES, tiles, run)]
    for shape in (Shape(16, 256, 1, 256), Shape(8, 4096, 1, 1024)):
        run = partial(time, ops["axon"], shape, torch.float32, note="loop")
        jobs += [partial(_with, vars(launch), {"_scans": lambda cell: False}, run)]
    return jobs


def _with(table: dict, values: dict, run: Job) -> object:
    """Run with other choices in a table of `launch`."""
    before = {name: table[name] for name in values}
    table.update(values)
    try:
        return run()
    finally:
        table.update(before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--profile", action="store_true")
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    print(torch.cuda.get_device_name(), torch.__version__, f"triton {sys.modules['triton'].__version__}")
    ops = {rec.name: load(rec).OP for rec in (slstm, axon, lstm, gru)}
    jobs = [*checks(ops), *times(ops), *(sweeps(ops) if wanted.sweep else [])]
    if wanted.profile:
        jobs += [partial(profile, ops["slstm"], Shape(64, 64, 4, 64), torch.bfloat16)]
        jobs += [partial(profile, ops["axon"], Shape(16, 256, 1, 256), torch.float32)]
    place, parts = map(int, wanted.part.split("/"))
    wrong = sum(job() is False for job in jobs[place::parts])
    print(f"{wrong} wrong" if wrong else "all right")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

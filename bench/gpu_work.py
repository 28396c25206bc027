"""What the scripts of this folder that need a GPU share: the work, random arguments for it, and how it is timed."""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from cortexc.compiler.library.recurrences import agalite as agalite_of
from cortexc.compiler.library.recurrences import axon, gru, lstm, slstm
from cortexc.compiler.recurrence import Recurrence, emit_module
from cortexc.compiler.recurrence.cost import cost
from cortexc.kernels import causal_conv
from cortexc.kernels.recurrence import RecurrenceOp
from cortexc.kernels.recurrence.cell import Inputs
from cortexc.kernels.recurrence.engine import run_backward, run_forward

RECURRENCES = {rec.name: rec for rec in (slstm, axon, lstm, gru)}
ROWS: list[dict] = []  # what --out keeps
TERMS, FEATURES = 2, 6  # of AGaLiTe, as in its core

Job = Callable[[], object]


def tell(**row: object) -> None:
    """Print a row and keep it."""
    ROWS.append(row)
    print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)


def about(commit: str | None) -> dict[str, object]:
    """Where and on what something was measured."""
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": sys.modules["triton"].__version__,
        "cudnn": torch.backends.cudnn.version(),
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
    }


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


@dataclass(frozen=True)
class Work:
    """What one timing runs, and the bytes that must move a token."""

    forward: Callable[[], Tensor]
    both: Callable[[], object]
    kept: Callable[[], object]  # forward with what a backward reads
    replayed: Callable[[], object]  # forward and backward as a graph captures them
    bytes_forward: float
    bytes_kept: float
    bytes_backward: float
    plain: Callable[[torch.dtype], list[Tensor]] | None = None  # output and gradients by torch alone, in a dtype


def agalite(shape: Shape, dtype: torch.dtype) -> Work:
    """AGaLiTe of rank 2 with 6 features a head, as in its core."""
    rec = agalite_of(TERMS, 1e-5)
    op = load(rec).OP
    lead, width = (shape.rows, shape.steps, shape.heads), shape.width
    x = torch.randn(*lead, 5, width, device="cuda").to(dtype).requires_grad_()
    f = torch.randn(*lead, 3, FEATURES, device="cuda").to(dtype).requires_grad_()
    waves = torch.ones(*lead, TERMS // 2, device="cuda", dtype=dtype)
    sizes = {"d": (width,), "ed": (FEATURES, width)}
    state = tuple(torch.zeros(shape.rows, shape.heads, *sizes[axes], device="cuda") for axes in op.cell.state_axes)
    moved = cost(rec, width=shape.heads * width, head_width=width, features=FEATURES, itemsize=dtype.itemsize)

    def forward() -> Tensor:
        return op.sequence((x, f, waves), (), None, state, impl="triton")[0][0]

    d = torch.randn(*lead, width, device="cuda").to(dtype)

    def both() -> object:
        return torch.autograd.grad(forward(), [x, f], d)

    def plain(of: torch.dtype) -> list[Tensor]:
        a, b = (t.detach().to(of).requires_grad_() for t in (x, f))
        y = op.sequence((a, b, waves.to(of)), (), None, tuple(t.to(of) for t in state), impl="torch")[0][0]
        return [y, *torch.autograd.grad(y, [a, b], d.to(of))]

    return Work(
        forward,
        both,
        bare(op, [x, (), None, state, (), None, (f, waves)], None),
        both,
        moved.bytes_forward,
        moved.bytes_kept,
        moved.bytes_backward,
        plain,
    )


def conv(shape: Shape, dtype: torch.dtype) -> Work:
    """The depthwise causal convolution of mLSTM and sLSTM: 4 taps; a backward reads what the forward did."""
    width = shape.heads * shape.width
    x = torch.randn(shape.rows, shape.steps, width, device="cuda", dtype=dtype, requires_grad=True)
    carried = torch.zeros(shape.rows, 4, width, device="cuda", dtype=dtype)
    weight = torch.randn(width, 1, 4, device="cuda", dtype=dtype, requires_grad=True)
    bias, d = torch.zeros(width, device="cuda", dtype=dtype, requires_grad=True), torch.randn_like(x)

    def forward() -> Tensor:
        return causal_conv(x, carried, weight, bias)[0]

    def both() -> object:
        return torch.autograd.grad(forward(), [x, weight, bias], d)

    def plain(of: torch.dtype) -> list[Tensor]:
        a, w, b = (t.detach().to(of).requires_grad_() for t in (x, weight, bias))
        y = torch.nn.functional.conv1d(torch.nn.functional.pad(a.transpose(1, 2), (3, 0)), w, b, groups=width)
        y = y.transpose(1, 2)
        return [y, *torch.autograd.grad(y, [a, w, b], d.to(of))]

    token = width * dtype.itemsize
    return Work(forward, both, forward, both, 2 * token, 0, 3 * token, plain)


def recurrence(op: RecurrenceOp, shape: Shape, dtype: torch.dtype, resets: bool = False) -> Work:
    """A recurrence alone, without the products around it."""
    given = arguments(op, shape, dtype, resets, traces=False)
    outputs, last, _ = op.sequence(*given, impl="triton")
    seeds = [torch.randn_like(t) for t in (*outputs, *last)]
    moved = cost(RECURRENCES[op.cell.name], width=shape.heads * shape.width, itemsize=dtype.itemsize)
    return Work(
        lambda: op.sequence(*given, impl="triton")[0][0],
        lambda: gradients(op, given, seeds, "triton"),
        bare(op, given, None),
        bare(op, given, seeds),
        moved.bytes_forward,
        moved.bytes_kept,
        moved.bytes_backward,
    )

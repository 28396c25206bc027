"""A generated recurrence on this machine: what Triton makes of its kernels, without a GPU too, and how long it runs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch

from .benchmark import clock
from .kernels._triton import AVAILABLE, INTERPRETED
from .kernels.recurrence import RecurrenceOp

ARCHITECTURE = 90  # H100, H200
WARPS = 4


@dataclass(frozen=True)
class Usage:
    """Of one kernel: registers and spilled bytes of a thread, shared bytes of a program."""

    role: str
    registers: int | None  # None where the disassembler of Triton's wheel is missing
    spilled: int | None
    shared: int

    def __str__(self) -> str:
        registers = "registers unknown" if self.registers is None else f"{self.registers:>3} registers"
        spilled = f", {self.spilled} bytes spilled" if self.spilled else ""
        return f"{self.role:<18} {registers}, {self.shared / 1024:.4g} KiB shared{spilled}"


@dataclass(frozen=True)
class Timing:
    """Medians in milliseconds of one call from a fresh state."""

    device: str
    forward_ms: float
    both_ms: float

    def __str__(self) -> str:
        return f"forward {self.forward_ms:.3f} ms, forward+backward {self.both_ms:.3f} ms on {self.device}"


def unavailable() -> str:
    """Why kernels cannot be compiled in this process; empty where they can."""
    if not AVAILABLE:
        return "triton is not installed"
    return "TRITON_INTERPRET=1: the interpreter compiles nothing" if INTERPRETED else ""


def usages(text: str, sizes: Mapping[str, object], skip: tuple[str, ...] = ()) -> list[Usage]:
    """Compile every kernel of a generated module for compute capability 9.0. `sizes` replaces the example constants
    that its table KERNELS gives; kernels whose names begin with one of `skip` are left out. About a second a kernel."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = _load(Path(folder) / "generated.py", text)
        chosen = {role: kernel for role, kernel in module.KERNELS.items() if not role.startswith(skip)}
        return [_usage(role, kernel, sizes, Path(folder)) for role, kernel in chosen.items()]


def timing(
    text: str, *, rows: int, steps: int, width: int, head_width: int | None, traces: bool, features: int = 1
) -> Timing:
    """Run the module's recurrence, float32, on the GPU if there is one and else on the CPU."""
    on_gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        op: RecurrenceOp = _load(Path(folder) / "generated.py", text).OP
    device = "cuda" if on_gpu else "cpu"
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return (0.3 * torch.randn(*shape, generator=generator)).to(device).requires_grad_()

    inner = head_width or width
    x: torch.Tensor | tuple[torch.Tensor, ...] = draw(rows, steps, len(op.cell.inputs), width)
    if op.cell.headed:
        count = {axes: op.cell.input_axes.count(axes) for axes in ("d", "e", "")}
        lead = (rows, steps, width // inner)
        sizes = [(*lead, count["d"], inner), (*lead, count["e"], features), (*lead, count[""])]
        kinds = [(axes, size) for axes, size in zip(count, sizes, strict=True) if 0 not in size]
        x = tuple(draw(*size).detach().requires_grad_(bool(axes)) for axes, size in kinds)
    params = tuple(draw(width) for _ in op.cell.params)
    weight = draw(width // inner, len(op.cell.gates), inner, inner) if op.cell.recurrent is not None else None
    carried = op.initial_traces(rows, width, params[0]) if traces else ()

    def forward() -> torch.Tensor:
        outputs, _, _ = op.sequence(x, params, weight, None, carried, impl="auto" if on_gpu else "torch")
        return outputs[0]

    def both() -> None:
        forward().sum().backward()

    with torch.no_grad():
        first = median(clock(forward, device, seconds=2.0))
    name = torch.cuda.get_device_name() if on_gpu else "this CPU"
    return Timing(name, first, median(clock(both, device, seconds=2.0)))


def _load(path: Path, text: str) -> ModuleType:
    path.write_text(text, encoding="utf-8")
    name = f"_cortexc_ahead_{abs(hash(text))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def _usage(role: str, kernel: Any, sizes: Mapping[str, object], folder: Path) -> Usage:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {name: sizes.get(name, value) for name, value in kernel.constants.items()}
    signature = {name: kernel.signature.get(name, "constexpr") for name in kernel.function.arg_names}
    source = ASTSource(fn=kernel.function, signature=signature, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", ARCHITECTURE, 32), options={"num_warps": WARPS})
    registers, spilled = _resources(made.asm["cubin"], folder / "kernel.cubin")
    return Usage(role, registers, spilled, made.metadata.shared)


def _resources(cubin: bytes, path: Path) -> tuple[int | None, int | None]:
    """Registers and spilled bytes, as the disassembler in Triton's wheel reads them from machine code."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    path.write_bytes(cubin)
    try:
        done = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None, None
    fields = dict(f.split(":", 1) for f in done.stdout.split() if f.startswith(("REG:", "LOCAL:", "STACK:")))
    spilled = int(fields.get("LOCAL", 0)) + int(fields.get("STACK", 0))
    return int(fields["REG"]) if "REG" in fields else None, spilled

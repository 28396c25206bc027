"""Timing shared by `cortexc bench` and the scripts in bench/: one warm-up, one clock, one record."""

import functools
import importlib.metadata
import json
import platform
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .cortex_dsl import RoutedAdapterConfig
from .runtime.errors import CortexWarning

Mode = Literal["forward", "forward+backward", "step", "stepper"]
MODES: tuple[Mode, ...] = ("forward", "forward+backward", "step", "stepper")

# Relative error (norm of the difference over the norm) that a backend may show against another one.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
TF32_TOLERANCE = 5e-3


@dataclass(frozen=True, slots=True)
class Work:
    """What is timed. A result means nothing without it, so every record carries it."""

    pattern: str
    d_hidden: int
    batch: int
    seq_len: int
    dtype: str
    device: str
    tf32: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype named by the text."""
        return getattr(torch, self.dtype)

    @property
    def tolerance(self) -> float:
        """The relative error allowed between two backends on this work."""
        on_tf32 = self.tf32 and self.torch_dtype == torch.float32 and self.device.startswith("cuda")
        return TF32_TOLERANCE if on_tf32 else TOLERANCE[self.torch_dtype]

    def input(self, seed: int = 0) -> Tensor:
        """The same numbers for every contender. # (B, T, H)"""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(self.batch, self.seq_len, self.d_hidden, generator=generator, dtype=torch.float64)
        return x.to(self.device, self.torch_dtype)


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender in one mode. Times in milliseconds, the first call (with what it compiles) in seconds."""

    contender: str
    mode: Mode
    median_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    first_call_s: float
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that one contender showed; `error` holds the reason when it could not run."""

    contender: str
    timings: tuple[Timing, ...] = ()
    relative_error: float | None = None
    error: str = ""
    notes: tuple[str, ...] = ()


def clock(
    call: Callable[[], object],
    device: str,
    *,
    warmup: int = 3,
    rounds: int = 20,
    seconds: float = 10.0,
) -> list[float]:
    """Times of single calls in milliseconds, by CUDA events on a GPU; stops early when `seconds` are spent."""
    on_gpu = device.startswith("cuda")
    deadline = time.perf_counter() + seconds
    for _ in range(warmup):
        call()
        if time.perf_counter() > deadline:
            break
    if on_gpu:
        torch.cuda.synchronize(device)
    times = []
    for done in range(rounds):
        times.append(_on_gpu(call) if on_gpu else _on_cpu(call))
        if done >= 2 and time.perf_counter() > deadline:
            break
    return times


def _on_cpu(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def _on_gpu(call: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def prepared_call(module: nn.Module, x: Tensor, mode: Mode) -> Callable[[], object]:
    """The call that a mode times. The step starts from a state that has seen half the sequence."""
    routes = routes_for(module, x)
    if mode == "forward":

        def forward() -> object:
            with torch.no_grad():
                return module(x, **routes)

        return forward
    if mode == "forward+backward":
        x_grad = x.clone().requires_grad_()

        def forward_backward() -> None:
            module.zero_grad(set_to_none=True)
            x_grad.grad = None
            y = module(x_grad, **routes)[0]
            y.backward(torch.ones_like(y))

        return forward_backward
    with torch.no_grad():
        _, state = module(x[:, : max(1, x.shape[1] // 2)], **routes)
    x_t, step = x[:, -1].contiguous(), getattr(module, "step", None) or module
    if mode == "stepper":
        return functools.partial(module.stepper(x.shape[0]), x_t, **routes)  # type: ignore[operator]

    def one_step() -> object:
        with torch.no_grad():
            return step(x_t, state, **routes)

    return one_step


def routes_for(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What a stack with routed adapters needs beside x: its rows take the slots in turn."""
    adapter = getattr(module, "adapter", None)
    if not isinstance(adapter, RoutedAdapterConfig):
        return {}
    return {"route_ids": torch.arange(x.shape[0], device=x.device) % adapter.num_slots}


def time_mode(module: nn.Module, x: Tensor, mode: Mode, name: str, *, rounds: int, seconds: float) -> Timing:
    """First call, then the steady state; on a GPU also the peak of memory over the timed rounds."""
    device = str(x.device)
    on_gpu = device.startswith("cuda")
    call = prepared_call(module, x, mode)
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    call()
    if on_gpu:
        torch.cuda.synchronize(device)
    first = time.perf_counter() - started
    times = clock(call, device, rounds=rounds, seconds=seconds)
    cuts = statistics.quantiles(times, n=5) if len(times) > 1 else [times[0]] * 4
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else None
    return Timing(name, mode, statistics.median(times), cuts[0], cuts[-1], len(times), first, peak)


def compare(
    contenders: Iterable[tuple[str, Callable[[], nn.Module]]],
    work: Work,
    *,
    modes: Sequence[Mode] = MODES,
    rounds: int = 20,
    seconds: float = 10.0,
    same_weights: bool = True,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Times each contender in turn. With `same_weights` the first one lends its weights and output to the others."""
    torch.set_float32_matmul_precision("high" if work.tf32 else "highest")
    x = work.input()
    lent: _Lent | None = None
    outcomes = []
    for name, make in contenders:
        timings: list[Timing] = []
        notes: list[str] = []
        try:
            progress(f"{name}: build")
            module = _noting_fallbacks(make, notes)
            if lent:
                module.load_state_dict(lent.weights)
            for mode in modes:
                if mode == "stepper" and not hasattr(module, "stepper"):
                    continue  # a peer without a step engine
                progress(f"{name}: {mode}")
                timings.append(time_mode(module, x, mode, name, rounds=rounds, seconds=seconds))
            with torch.no_grad():
                y = module(x, **routes_for(module, x))[0].double().cpu()
        except (RuntimeError, NotImplementedError, ImportError) as failure:
            reason = str(failure).strip().splitlines() or [type(failure).__name__]
            outcomes.append(Outcome(name, tuple(timings), None, reason[0], tuple(notes)))
            continue
        error = float((y - lent.output).norm() / lent.output.norm()) if lent else None
        if same_weights and lent is None:
            lent = _Lent({key: value.clone() for key, value in module.state_dict().items()}, y)
        outcomes.append(Outcome(name, tuple(timings), error, "", tuple(notes)))
        # The next contender's peak of memory must not count this one.
        del module
        if work.device.startswith("cuda"):
            torch.cuda.empty_cache()
    return outcomes


@dataclass(frozen=True, slots=True)
class _Lent:
    """What the first contender lends to the others."""

    weights: dict[str, Tensor]
    output: Tensor  # (B, T, H), float64


def _noting_fallbacks(make: Callable[[], nn.Module], notes: list[str]) -> nn.Module:
    """The module; its coded warnings go into `notes`: a backend that fell back must not look like itself."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = make()
    for warning in caught:
        if not issubclass(warning.category, CortexWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif str(warning.message) not in notes:
            notes.append(str(warning.message))
    return module


def environment(device: str) -> dict[str, Any]:
    """Everything that a reader needs to judge or repeat a figure."""
    on_gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "capability": list(torch.cuda.get_device_capability(device)) if on_gpu else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": _version("triton"),
        "cortexc": _version("cortexc"),
        "cortexcore": _version("cortexcore"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **_source(),
    }


def record(work: Work, outcomes: Sequence[Outcome], **extra: Any) -> dict[str, Any]:
    """The document that result files hold."""
    return {
        "schema": "cortexc.bench/1",
        "work": asdict(work),
        "environment": environment(work.device),
        "outcomes": [asdict(outcome) for outcome in outcomes],
        **extra,
    }


def save(document: dict[str, Any], path: Path) -> Path:
    """Writes a result file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(document, indent=2) + "\n")
    return beside.replace(path)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _source() -> dict[str, Any]:
    """Commit of the source tree and whether it had changes; None for an installed wheel."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=20
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain") if commit else None
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}

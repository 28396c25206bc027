"""The kernels of a whole call, compiled side by side before it runs.

Triton compiles a kernel when it is first launched, one after another, and a stack has some forty of them. Its compiler
works outside Python's lock, so threads share the work: in a rehearsal `launch` hands a kernel to them and goes on, and
what the kernel would have written is whatever its memory held. That is for work which looks at no value.
``CORTEXC_REHEARSE=0`` turns rehearsals off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any

import torch

from ._triton import AVAILABLE, INTERPRETED, triton

THREADS = 32  # at most

_rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)


def launch(kernel: Any, grid: tuple[int, ...]) -> Callable[..., Any]:
    """``kernel[grid]``, to be called with the arguments; in a rehearsal it is compiled and not launched."""
    return partial(kernel.warmup, grid=grid) if _rehearsing.get() else kernel[grid]


def rehearsing() -> bool:
    """Whether this thread's launches only compile."""
    return _rehearsing.get()


def compile_ahead(work: Callable[[], object], device: torch.device) -> None:
    """Compile what `work` would launch on this GPU, backward passes in it too. Its other operations do run, on values
    that mean nothing. Raises what the compiler raises."""
    if AVAILABLE and not INTERPRETED and os.environ.get("CORTEXC_REHEARSE", "1") != "0":
        copy_context().run(_rehearse, work, device)  # what is set in there stays in there


def _rehearse(work: Callable[[], object], device: torch.device) -> None:
    _rehearsing.set(True)
    with (
        _Compilers(device) as pool,
        triton.AsyncCompileMode(pool),
        torch.autograd.set_multithreading_enabled(False),  # the backward must run in this thread to be rehearsed
        torch.autograd.set_detect_anomaly(False),  # values that mean nothing may be NaN
    ):
        work()


class _Compilers(ThreadPoolExecutor):
    """Threads that compile a kernel and load it on the device, launcher included."""

    def __init__(self, device: torch.device) -> None:
        count = min(THREADS, os.cpu_count() or 1)
        super().__init__(count, initializer=torch.cuda.set_device, initargs=(device,))

    def submit(self, compile: Callable[[], Any]) -> Future[Any]:  # type: ignore[override]
        return super().submit(_loaded, compile)


def _loaded(compile: Callable[[], Any]) -> Any:
    kernel = compile()
    _ = kernel.run  # reading it loads the machine code, and for some versions of Triton compiles a launcher in C
    return kernel

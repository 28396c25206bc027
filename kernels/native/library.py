"""Functions in C++: when they run, how they are built, loaded and called."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import torch

from .._triton import INTERPRETED
from ..warnings import warn_once
from .build import BuildError, compiler, library

HERE = Path(__file__).parent
HEADERS = (
    *(HERE / name for name in ("prelude.h", "rows.h", "linear.h")),
    *(HERE.parent / folder / "step.h" for folder in ("agalite", "conv", "mixing", "mlstm", "srht", "xl")),
)


class Native:
    """One function ``extern "C" void name(const long long* a)`` in C++, whose text goes on where HEADERS end."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source
        self.beside: tuple[Native, ...] = (self,)  # what is built with it, side by side
        self._run: Callable[[int], None] | None = None
        self._lock = threading.Lock()
        self._tried = False

    def usable(self) -> bool:
        """Whether this call may take the function. Builds it if that was not done; says so once if that fails."""
        if not _here.on:
            return False
        if not self._tried:
            with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
                list(threads.map(Native._prepare, self.beside))
        return self._run is not None

    def _prepare(self) -> None:
        with self._lock:
            if self._tried:
                return
            try:
                self._run = _loaded(library("\n".join([*_headers(), self.source])), self.name)
            except (BuildError, OSError, AttributeError) as problem:
                warn_once(
                    f"W404 a step could not be compiled for this CPU: {problem}; it runs on torch operators, which is "
                    "slower. Mend the compiler or name another one in CXX; CORTEXC_NATIVE=0 asks for none"
                )
            self._tried = True

    def __call__(self, arguments: list[int]) -> None:
        """Run with these addresses, distances and sizes. Whatever they point to must stay alive until it returns."""
        assert self._run is not None
        packed = array("q", arguments)
        self._run(packed.buffer_info()[0])


@functools.cache
def _headers() -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8") for path in HEADERS)


def _loaded(path: Path, name: str) -> Callable[[int], None]:
    gemm = _symbol("sgemm_", "SGEMM")
    if gemm is None:
        raise OSError("torch shows no BLAS that a kernel could call")
    found = ctypes.CDLL(str(path))
    found.use_gemm(gemm)
    team = _symbol("GOMP_parallel")
    if team is not None:
        found.use_team(team)
    run = getattr(found, name)
    run.argtypes, run.restype = [ctypes.c_void_p], None
    return run  # type: ignore[no-any-return]


@functools.cache
def _symbol(*names: str) -> ctypes.c_void_p | None:
    """A function of the libraries that torch has loaded: its own first, then whatever else the process sees."""
    folder = Path(torch.__file__).parent / "lib"
    paths = [*(str(p) for p in sorted(folder.glob("libtorch_cpu.*"))), None]
    for loaded in map(ctypes.CDLL, paths):
        for name in names:
            if hasattr(loaded, name):
                return ctypes.cast(getattr(loaded, name), ctypes.c_void_p)
    return None


# -- when they run ---------------------------------------------------------------------------------------------------


def wanted() -> bool:
    """Whether kernels in C++ may run here at all: a compiler is there, the user has left them on, and Triton's
    interpreter is not what is to compute on this CPU."""
    return not INTERPRETED and os.environ.get("CORTEXC_NATIVE", "1") != "0" and compiler() is not None


class _Local(threading.local):
    on = False


_here = _Local()


class native:
    """Inside, kernels in C++ run where they can: a caller who knows that nothing is differentiated, traced or
    transformed opens this."""

    def __init__(self, on: bool = True) -> None:
        self._on = on

    def __enter__(self) -> None:
        self._before, _here.on = _here.on, self._on

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _here.on = self._before

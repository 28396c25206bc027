"""C++ text -> a shared library, once for a text, a compiler and a processor; kept in the cache folder.

Nothing is linked but the C library: a compile takes a fraction of a second.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from ...cache import native_dir

COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    "-std=c++17",
    "-O3",
    "-shared",
    "-fPIC",
    "-ffp-contract=fast",  # a * b + c is rounded once
    "-fno-math-errno",  # these two let loops over functions and choices become vector instructions
    "-fno-trapping-math",
    "-fopenmp-simd",  # sums in lanes where a kernel says that they may be; threads come from prelude.h
)
TIMEOUT = 120.0  # seconds, of one compile


class BuildError(Exception):
    """A compiler is there and did not do it; the text is the first thing that it complained about."""


@functools.cache
def compiler() -> str | None:
    """The C++ compiler: ``CXX``, else the first on the path."""
    if os.name == "nt":
        return None
    wanted = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, (wanted,) if wanted else COMPILERS)), None)


def library(source: str) -> Path:
    """The shared library of this text, compiled unless it is there. Raises BuildError."""
    name = hashlib.sha256("\0".join((source, *FLAGS, *_machine())).encode()).hexdigest()[:16]
    target = native_dir() / f"{name}.so"
    if target.exists():
        return target
    program = compiler()
    if program is None:
        raise BuildError("no C++ compiler was found")
    try:
        native_dir().mkdir(parents=True, exist_ok=True, mode=0o700)
        staged = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=native_dir()))  # owner-only
    except OSError as problem:
        raise BuildError(f"{native_dir()}: {problem.strerror or problem}") from problem
    try:
        return _compiled(program, source, staged).replace(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _compiled(program: str, source: str, folder: Path) -> Path:
    text, made = folder / "kernel.cpp", folder / "kernel.so"
    text.write_text(source, encoding="utf-8")
    tuned = "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"
    try:
        run = subprocess.run(
            [program, *FLAGS, tuned, "-o", str(made), str(text)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise BuildError(f"{program}: {problem}") from problem
    if run.returncode:
        lines = [line for line in run.stderr.splitlines() if "error" in line] or run.stderr.splitlines()
        raise BuildError(f"{program}: {lines[0] if lines else f'exit code {run.returncode}'}")
    return made


@functools.cache
def _machine() -> tuple[str, ...]:
    """What a library depends on beside its text: who compiled it, and for which processor. A cache folder may be seen
    by machines of many kinds."""
    program = compiler() or ""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=TIMEOUT).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    processor = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        kinds = ("model name", "flags", "features", "cpu part")
        processor += sorted({line for line in lines if line.lower().startswith(kinds)})
    except OSError:
        pass
    return (program, said, *processor)

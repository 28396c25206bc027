"""`cortexc doctor`: what this machine has, what is missing, and what to do about it."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from ..cache import cache_dir
from .output import ExitCode, JsonFlag, emit_json, say, terminal_width, wrap

SWITCHES = ("CORTEXC_DISABLE_TRITON", "CORTEX_DISABLE_TRITON", "CORTEX_FORCE_PYTORCH")
CXX_HINT = "steps on a CPU are compiled with one and much slower without, and backend inductor needs it; install g++"
STYLES = {"ok": "green", "note": "yellow", "bad": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: `ok`, `note` (works, with less) or `bad` (does not work)."""

    name: str
    status: str
    value: str
    hint: str = ""


def doctor(json_output: JsonFlag = False) -> None:
    """Look at Python, torch, Triton, devices, compilers, caches and switches; say what to mend."""
    findings = examine()
    healthy = all(finding.status != "bad" for finding in findings)
    if json_output:
        emit_json("doctor", {"ok": healthy, "findings": [asdict(finding) for finding in findings]})
    else:
        print_findings(findings)
    if not healthy:
        raise typer.Exit(ExitCode.USER_ERROR)


def examine() -> list[Finding]:
    """Every finding, in reading order."""
    return [
        Finding("cortexc", "ok", package_version("cortexc")),
        _python(),
        *(_package(name) for name in ("torch", "tensordict", "triton")),
        *_devices(),
        _interpreter(),
        _compiler("C compiler", "CC", ("cc", "gcc", "clang"), "Triton builds its launchers with it; install gcc"),
        _compiler("C++ compiler", "CXX", ("c++", "g++", "clang++"), CXX_HINT),
        *_caches(),
        *(_switch(name) for name in SWITCHES),
        _native(),
    ]


def package_version(name: str) -> str:
    """The installed version; from a source tree that was never installed, the word `source`."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "source" if name == "cortexc" else ""


def _python() -> Finding:
    value = f"{platform.python_version()} ({sys.executable})"
    good = sys.version_info >= (3, 11)
    return Finding("Python", "ok" if good else "bad", value, "" if good else "cortexc needs Python >= 3.11")


def _package(name: str) -> Finding:
    version = package_version(name)
    if version:
        return Finding(name, "ok", version)
    if name == "triton":
        return Finding(name, "note", "not installed", "own kernels need triton >= 3.6 (Linux); torch is used instead")
    return Finding(name, "bad", "not installed", "install it with: pip install cortexc")


def _devices() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return [Finding("devices", "bad", "unknown", "torch is not installed")]
    import torch

    if not torch.cuda.is_available():
        hint = "no GPU that this torch can use; Triton kernels run only in the interpreter here"
        return [Finding("devices", "note", f"cpu, {torch.get_num_threads()} threads", hint)]
    kind = "rocm" if torch.version.hip else "cuda"
    found = []
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        value = f"{device.name}, sm_{device.major}{device.minor}, {device.total_memory / 2**30:.0f} GiB"
        found.append(Finding(f"{kind}:{index}", "ok", value))
    return found


def _interpreter() -> Finding:
    on = _is_on("TRITON_INTERPRET")
    hint = "kernels run in Python, slowly: for tests; unset TRITON_INTERPRET for speed" if on else ""
    return Finding("Triton interpreter", "note" if on else "ok", "on" if on else "off", hint)


def _compiler(name: str, variable: str, programs: tuple[str, ...], hint: str) -> Finding:
    wanted = os.environ.get(variable, "")
    for program in (wanted,) if wanted else programs:
        path = shutil.which(program)
        if path:
            return Finding(name, "ok", path)
    return Finding(name, "note", f"{wanted or ' '.join(programs)}: not found", hint)


def _caches() -> list[Finding]:
    triton = Path(os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton" / "cache")
    return [
        _folder("code cache", cache_dir(), "CORTEXC_CACHE_DIR"),
        _folder("kernel cache", triton, "TRITON_CACHE_DIR"),
    ]


def _folder(name: str, folder: Path, variable: str) -> Finding:
    place = next((parent for parent in (folder, *folder.parents) if parent.exists()), Path("/"))
    if place.is_dir() and os.access(place, os.W_OK):
        return Finding(name, "ok", str(folder))
    return Finding(name, "note", f"{folder}: not writable", f"set {variable} to a folder of yours")


def _switch(name: str) -> Finding:
    value = os.environ.get(name, "")
    if _is_on(name):
        return Finding(name, "note", value, f"Triton kernels are switched off; unset {name} to use them")
    return Finding(name, "ok", value or "not set")


def _native() -> Finding:
    if os.environ.get("CORTEXC_NATIVE", "1") != "0":
        return Finding("CORTEXC_NATIVE", "ok", os.environ.get("CORTEXC_NATIVE") or "not set")
    return Finding("CORTEXC_NATIVE", "note", "0", "steps on a CPU run on torch operators; unset it to compile them")


def _is_on(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


def print_findings(findings: list[Finding]) -> None:
    """One aligned line each, the hint below."""
    name_width = max(len(finding.name) for finding in findings)
    width = terminal_width()
    for finding in findings:
        say(f"{finding.status:<4}  {finding.name:<{name_width}}  {finding.value}", style=STYLES[finding.status])
        if finding.hint:
            indent = " " * (name_width + 8)
            for line in wrap(finding.hint, max(width - len(indent), 20)) if width else [finding.hint]:
                say(f"{indent}{line}")

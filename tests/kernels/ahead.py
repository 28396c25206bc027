"""Compiling the kernels of a generated module ahead of time, in a process that has Triton without its interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from cortexc.kernels import ahead

TARGETS = ("cuda80", "cuda90", "gfx942")

COMPILE = """
import importlib.util, sys, warnings
warnings.simplefilter("ignore")
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

spec = importlib.util.spec_from_file_location("generated", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["generated"] = module
spec.loader.exec_module(module)
targets = {"cuda80": ("cuda", 80, 32), "cuda90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}
target = GPUTarget(*targets[sys.argv[2]])
for role, kernel in module.KERNELS.items():
    names = kernel.function.arg_names
    assert set(names) == set(kernel.signature) | set(kernel.constants), role
    signature = {name: kernel.signature.get(name, "constexpr") for name in names}
    constants = dict(kernel.constants)
    if "PRECISION" in constants and target.backend == "cuda":
        constants["PRECISION"] = "tf32x3"  # what the launcher asks for there; "ieee" crashes LLVM of Triton 3.9 for GRU
    source = ASTSource(fn=kernel.function, signature=signature, constexprs=constants)
    made = triton.compile(source, target=target, options={"num_warps": 4})
    assert made.asm["cubin" if target.backend == "cuda" else "hsaco"], role
    print("compiled", role)
"""


def compile_ahead(path: str, target: str, kernels: int) -> None:
    """Every entry of the module's KERNELS table becomes machine code for one of TARGETS."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, path, target], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("compiled") == kernels


def pretend_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearsals as where Triton compiles, also in a process with its interpreter or without Triton."""
    monkeypatch.setattr(ahead, "INTERPRETED", False)
    if not ahead.AVAILABLE:
        monkeypatch.setattr(ahead, "AVAILABLE", True)
        monkeypatch.setattr(ahead, "triton", SimpleNamespace(AsyncCompileMode=nullcontext))

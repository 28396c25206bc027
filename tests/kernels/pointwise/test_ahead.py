"""Every region kernel of a real pattern compiles to machine code for NVIDIA and AMD on a machine without either."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest

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
    source = ASTSource(fn=kernel.function, signature=signature, constexprs=dict(kernel.constants))
    made = triton.compile(source, target=target, options={"num_warps": 4})
    assert made.asm["cubin" if target.backend == "cuda" else "hsaco"], role
    print("compiled", role)
"""


def test_both_kernels_of_every_region_are_listed(of_pattern: ModuleType) -> None:
    regions = [r.name for r in vars(of_pattern).values() if type(r).__name__ == "Region"]
    assert len(regions) >= 5
    assert sorted(of_pattern.KERNELS) == sorted(f"{r}_{role}" for r in regions for role in ("forward", "backward"))


@pytest.mark.long
@pytest.mark.parametrize("target", ["cuda80", "cuda90", "gfx942"])
def test_compiles(target: str, of_pattern: ModuleType) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, of_pattern.__file__, target], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("compiled") == len(of_pattern.KERNELS)

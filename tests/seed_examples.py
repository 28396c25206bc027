"""Running the code examples of the seed documents: the import name is changed, older names by a map."""

from __future__ import annotations

import os
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from cortexc.cortex_dsl import default_registry

NAME = "seed_example"

# Names of the older document, each with what it is called now.
RENAMED = {
    r"\b(XL|LSTM|mLSTM|sLSTM)CellConfig\b": r"\1CoreConfig",
    r"\b(PreUp|PostUpGated|PassThrough)BlockConfig\b": r"\1ScaffoldConfig",
    r"\bAxonConfig\b": "AxonCoreConfig",
    r"\bMemoryCell\b": "MemoryCore",
    r"\bcell=": "core=",
    r"\bblocks=": "scaffolds=",
    r"cortex\.blocks\.column\.auto": "cortex.scaffolds.column.auto",
    r"cortex\.cells\.(base|core)": r"cortex.cores.\1",
}


@pytest.fixture
def as_a_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An example's tokens are its own. Without a GPU it runs on torch, as on any CPU: the tests' interpreter for Triton
    kernels is for small shapes."""
    if not os.environ.get("CORTEXC_TEST_GPU"):
        monkeypatch.setenv("CORTEX_DISABLE_TRITON", "1")
    yield
    for name in ("Y", "Y^", "Q"):
        default_registry().remove(name)


def run(code: str, **given: Any) -> dict[str, Any]:
    """The names that a program leaves, run as a module of its own."""
    module = types.ModuleType(NAME)
    sys.modules[NAME] = module
    vars(module).update(given)
    exec(compile(re.sub(r"\bcortex\b", "cortexc", code), NAME, "exec"), vars(module))
    return vars(module)


def run_older(code: str, **given: Any) -> dict[str, Any]:
    """As :func:`run`, after the map of names, on the CPU."""
    for old, new in RENAMED.items():
        code = re.sub(old, new, code)
    return run(code.replace("stack = stack.cuda()\n", "").replace('device="cuda"', 'device="cpu"'), **given)


def shape(value: Any) -> list[int]:
    return list(value.shape)

"""Regions made from a few lines, and those of real patterns, as loaded modules."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from cortexc.compiler import build
from cortexc.compiler.regions import Region, emit_regions, make_region
from cortexc.cortex_dsl import parse, resolve

PATTERN = "AXMS x2"
_numbers = itertools.count()

# Bodies: statements t0, t1 … over operands a0, a1 …; results; the roles of the operands.
BODIES = {
    "gate": ((("add", "a0", "a1"), ("sub", "t0", "a2"), ("sigmoid", "t1"), ("mul", "t2", "a3")), ("t2", "t3"), "ffrf"),
    "lerp": ((("tanh", "a0"), ("lerp", "a1", "t0", "a2"), ("mul_scalar", "t1", 0.5)), ("t2",), "fff"),
    "scalar": ((("mul", "a0", "a1"), ("add", "t0", "a2"), ("add", "t1", "a0")), ("t1", "t2"), "fsf"),
    "row alone": ((("mul", "a1", "a0"), ("silu", "t0"), ("div_scalar", "t1", 4.0)), ("t0", "t2"), "fr"),
    "all kinds": (
        (
            ("exp", "a0"),
            ("add_scalar", "t0", 1.5),
            ("div", "a1", "t1"),
            ("neg", "t2"),
            ("mul", "t3", "a2"),
            ("sub", "t4", "a3"),
        ),
        ("t5", "t1", "t5"),
        "ffsr",
    ),
}
ROLES = {"f": "full", "r": "row", "s": "scalar"}


def region(name: str) -> Region:
    body, results, roles = BODIES[name]
    return make_region(body, results, [ROLES[r] for r in roles])


def load(text: str, folder: Path) -> ModuleType:
    path = folder / f"regions_{next(_numbers)}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The runnable region of each body."""
    made = {name: region(name) for name in BODIES}
    module = load(emit_regions(list(made.values())), tmp_path_factory.mktemp("regions"))
    return {name: getattr(module, r.name) for name, r in made.items()}


@pytest.fixture(scope="session")
def of_pattern(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The regions of AXMS."""
    artifact = build(resolve(parse(PATTERN, d_hidden=16)), backend="triton", pattern=PATTERN)
    return load(artifact.files["kernels/regions.py"], tmp_path_factory.mktemp("regions"))


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Region], object]:
    """One more region, as a runnable one."""
    folder = tmp_path_factory.mktemp("regions")
    return lambda r: getattr(load(emit_regions([r]), folder), r.name)

"""The examples of own cores, own scaffolds and adapters run in small and say what they claim. Covers Z4."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from cortexc.cortex_dsl import default_registry

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run an example's main and give what it printed. On torch, as without a GPU: Triton's interpreter is slow."""
    monkeypatch.setenv("CORTEX_DISABLE_TRITON", "1")

    def run(name, *arguments):
        spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        module.main(arguments)
        return capsys.readouterr().out

    yield run
    default_registry().remove("G")


def test_custom_core(run):
    printed = run("custom_core", "--steps", "60")
    assert "GRUCoreConfig keeps the contract" in printed
    before, after = (int(p) for p in re.findall(r"(\d+)%(?: \(chance|\n)", printed))
    assert before < 60 and after > 90
    assert re.search(r"G +3600 parameters", printed)


def test_custom_scaffold(run):
    printed = run("custom_scaffold", "--steps", "40")
    assert printed.count("keeps the contract") == 3
    assert "ColumnScaffold_3/expert_GatedResidualScaffold_0/CortexStack" in printed
    first, last = map(float, re.search(r"loss ([\d.]+) -> ([\d.]+)", printed).groups())
    assert last < 0.7 * first


def test_adapter(run):
    printed = run("adapter", "--steps", "60")
    assert printed.count("largest change 0.0e+00") == 2
    (first, last), (again, learned) = (
        (float(a), float(b)) for a, b in re.findall(r"loss ([\d.]+) -> ([\d.]+)", printed)
    )
    assert last < 0.3 * first and learned < 0.7 * again

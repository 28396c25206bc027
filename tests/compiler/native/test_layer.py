"""Which graphs have a form in C++, and what the generated text says."""

from __future__ import annotations

import re

import pytest

from cortexc.compiler import build
from cortexc.compiler.ir.types import B, Type
from cortexc.compiler.native import emit_layers
from cortexc.compiler.native.calls import CALLS, _role
from cortexc.compiler.native.layer import VIEWS
from cortexc.compiler.native.places import NotInCpp
from cortexc.compiler.native.text import Emitted
from cortexc.compiler.native.words import WORDS
from cortexc.compiler.ops import OPS
from cortexc.cortex_dsl import parse

HAVE = [
    "A",
    "X",
    "M",
    "S",
    "L",
    "C",
    "M^",
    "S^",
    "X^",
    "AXMS",
    "A(use_srht=true)",
    "L(num_layers=2)",
    "(A S) L",
    "Ag",
    "Ag(eta=3, r=3)",
]
# Each has an op without a row in `calls`, or one that a row refuses.
HAVE_NOT = [
    "C(channel_mixing=true)",
    "L(proj_size=8)",
    "A(use_fullrank_rtu=true)",
    "X(mem_len=0)",
    "L(num_layers=2, dropout=0.5)",
]


def emitted(pattern: str, backend: str = "auto") -> dict[str, Emitted]:
    return emit_layers(build(parse(pattern, d_hidden=32), backend=backend).programs["step"])


@pytest.mark.parametrize("pattern", HAVE)
def test_has_a_form_in_cpp(pattern: str) -> None:
    found = emitted(pattern)
    assert found and all(f'extern "C" void {name}(' in e.source for name, e in found.items())


@pytest.mark.parametrize("pattern", HAVE_NOT)
def test_has_none(pattern: str) -> None:
    artifact = build(parse(pattern, d_hidden=32))
    assert emit_layers(artifact.programs["step"]) == {}
    assert "kernels/native.py" not in artifact.files and "@native." not in artifact.files["module.py"]


@pytest.mark.parametrize("backend", ["eager", "inductor", "reference"])
def test_other_backends_stay_in_torch(backend: str) -> None:
    artifact = build(parse("A", d_hidden=32), backend=backend)
    assert "kernels/native.py" not in artifact.files and "native" not in artifact.files["module.py"]


def test_the_package_puts_it_in_front() -> None:
    files = build(parse("AXMS x2", d_hidden=32)).files
    assert "from .kernels import native" in files["module.py"]
    assert "@native.column_axms\ndef column_axms_step(p, x, state, resets):" in files["module.py"]
    assert files["module.py"].count("@native.") == 1  # the sequence form has none
    compile(files["kernels/native.py"], "native.py", "exec")
    assert files["kernels/native.py"].rstrip().endswith("together(column_axms)")


def test_values_have_names_of_their_own() -> None:
    source = emitted("A X M S^ L")
    for e in source.values():
        body = e.source[e.source.index('extern "C"') :]
        names = re.findall(r"^    (?:const Rows|integer\* const|float\* const|const Call) (\w+) =", body, re.M)
        assert len(names) == len(set(names)) and not WORDS & (set(names) - {"c", "scratch", "fixed"})


def test_a_result_is_written_where_it_is_given_out() -> None:
    """No copy of a state: what makes it writes it."""
    (layer,) = emitted("M").values()
    assert not re.search(r"copy_rows\(.*_after\)", layer.source) and re.search(
        r"mlstm_step\(.*, m_after\)", layer.source
    )
    assert [how for *_, how in layer.states] == ["", "in place", "", ""]
    (layer,) = emitted("X").values()
    assert [how for *_, how in layer.states] == ["window", ""]


def test_parameters_are_read_in_the_order_of_their_addresses() -> None:
    (layer,) = emitted("L").values()
    places = [int(n) for n in re.findall(r"\(\w+\*\)a\[(\d+)\]", layer.source)]
    assert places == sorted(places) and places[:2] == [3, 4]  # scratch, then x
    assert len(layer.params) == len(layer.shapes)


def test_one_recurrence_with_traces_and_without() -> None:
    (layer,) = emitted("recurrence(cell=lru, traces=false) recurrence(cell=lru)").values()
    functions = re.findall(r"ONCE void (step_\w+)\(", layer.source)
    assert functions == ["step_lru", "step_lru_traced"]
    assert re.findall(r"^    (step_\w+)\(", layer.source, re.M) == functions


def test_a_row_is_read_by_rows_alone() -> None:
    """What parameters alone make has one row, which a narrower operand would be read beyond."""
    row, table = Type("f", (8,)), Type("f", (4, 8))
    assert [_role(t, Type("f", (B, 8))) for t in (Type("f", (B, 8)), row, Type("f", ()))] == ["full", "row", "scalar"]
    for out in (table, Type("f", (B, 4, 8))):
        with pytest.raises(NotInCpp):
            _role(row, out)


def test_every_row_is_an_op() -> None:
    assert set(CALLS) | set(VIEWS) <= set(OPS)


def test_what_depends_on_parameters_alone_is_computed_once() -> None:
    (layer,) = emitted("A").values()
    step = layer.source[layer.source.index("void step_axon_traced") :]
    before, inner = step.split("for (integer row = first", 1)
    assert "f32::cos" in before and "f32::exp" in before
    inner = inner[: inner.index("});")]
    assert set(re.findall(r"f32::(\w+)", inner)) == {"choose"}  # of a reset

"""Routed adapters as graphs: one more input, parameters beside the trunk's, and nothing where there are none."""

from __future__ import annotations

import json

import pytest

from cortexc.compiler import build
from cortexc.compiler.ir import parse_graph, print_graph, verify
from cortexc.compiler.layout import LAYOUT
from cortexc.compiler.library.stack import lower
from cortexc.compiler.ops import shape_rules
from cortexc.compiler.pipeline import BACKENDS
from cortexc.cortex_dsl import CortexStackConfig, parse, resolve

OPTIONS = " with adapter_num_slots=4 adapter_rank=2"
PATTERNS = ["A", "X", "M", "S", "L(proj_size=6)", "Ag", "X^", "AS{top_k=1} x3"]


def spec(pattern: str) -> CortexStackConfig:
    return resolve(parse(pattern, d_hidden=16))


@pytest.mark.parametrize("mode", ["sequence", "step"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("plain", [False, True])
def test_graphs_are_well_formed_and_have_a_text(pattern: str, mode: str, plain: bool) -> None:
    program = lower(spec(pattern + OPTIONS), mode, plain=plain)
    for graph in program.graphs():
        assert [v.name for v in graph.inputs] == ["%x", "%resets", "%routes"]
        verify(graph, shape_rules())
        assert parse_graph(print_graph(graph)) == graph
    assert all(call.inputs[1:] == ("%resets", "%routes") for call, _ in program.calls())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_both_modes_and_both_forms_have_the_same_parameters(pattern: str) -> None:
    text = pattern + OPTIONS
    programs = [lower(spec(text), mode, plain=plain) for mode in ("sequence", "step") for plain in (False, True)]
    found = [set(program.all_params()) for program in programs]
    assert all(f == found[0] for f in found)
    assert {p for p in found[0] if not p.adapter} == set(lower(spec(pattern), "sequence").all_params())


@pytest.mark.parametrize("backend", BACKENDS)
def test_generated_code_takes_routes_only_with_adapters(backend: str) -> None:
    plain, adapted = (build(spec("AS x3" + o), backend=backend).files["module.py"] for o in ("", OPTIONS))
    assert "routes" not in plain and "routed" not in plain
    for line in adapted.splitlines():
        if line.startswith("def "):
            assert line.endswith("(p, x, state, resets, routes):")
    assert adapted.count("for i in range(0, 3):") == plain.count("for i in range(0, 3):") > 0  # equal layers stay one


def test_layout_puts_them_last() -> None:
    """So that a seed draws the trunk first, with adapters and without."""
    plain, adapted = (json.loads(build(spec("AS x2" + o), backend="eager").files[LAYOUT]) for o in ("", OPTIONS))
    trunk = [p for p in adapted["params"] if not p.get("adapter")]
    assert trunk == plain["params"] == adapted["params"][: len(trunk)]
    assert {p["path"].rpartition(".")[2] for p in adapted["params"][len(trunk) :]} == {"down", "up"}


def test_merged_products_stay_merged() -> None:
    """An adapter is added after the product, so products of one input still become one."""
    packs = []
    for options in ("", OPTIONS):
        program = build(spec("A" + options), backend="eager").programs["sequence"]
        packs.append([n.inputs for g in program.graphs() for n in g.nodes if n.op == "pack"])
    assert packs[0] == packs[1] != []

"""What is proved of recurrences, what is refused, and what is said about them."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys

import pytest

from cortexc.compiler.library.recurrences import axon, axon_fullrank, gru, lru, lstm, mingru, minlstm, slstm
from cortexc.compiler.recurrence import (
    State,
    analyse,
    cost,
    describe,
    emit_module,
    exp,
    recurrence,
    sigmoid,
    sin,
    tanh,
    where,
)
from cortexc.compiler.recurrence.analysis import obstacle
from cortexc.compiler.recurrence.bounds import state_bounds
from cortexc.compiler.recurrence.cost import H100, bound
from cortexc.compiler.recurrence.describe import CROWDED
from cortexc.compiler.recurrence.expr import leaf, leaves, walk

BOTH = {"h": "[-1, 1]", "k": "[-1, 1]"}
EVERY = [axon, axon_fullrank, gru, lru, lstm, mingru, minlstm, slstm]


def test_axon_is_affine_with_a_fixed_rotation():
    facts = analyse(axon)
    assert facts.scan
    assert facts.constant_transition
    assert [n for n, _ in facts.hoisted] == ["g", "phi", "b1", "b2"]
    g, phi = leaf("h", "g"), leaf("h", "phi")
    assert facts.transition == ((g, -phi), (phi, g))
    assert facts.offset == (leaf("h", "b1") * leaf("x", "u"), leaf("h", "b2") * leaf("x", "u"))


def test_slstm():
    facts = analyse(slstm)
    assert not facts.affine
    assert not facts.diagonal
    assert facts.shared == (True, True, True, True)
    assert facts.pointwise == (False, True, True, True)
    assert facts.traces is None


def test_gru_keeps_the_gate_whose_recurrent_term_is_apart():
    facts = analyse(gru)
    assert facts.shared == (True, True, False)
    assert facts.pointwise == (True,)


@pytest.mark.parametrize(
    ("equation", "affine"),
    [
        (lambda x, s: State(h=0.5 * s.h + x.u), True),
        (lambda x, s: State(h=x.u * s.h / exp(x.u) - s.h), True),
        (lambda x, s: State(h=where(x.u < 0.0, s.h, x.u)), True),
        (lambda x, s: State(h=where(s.h < 0.0, s.h, x.u)), False),
        (lambda x, s: State(h=s.h * s.h + x.u), False),
        (lambda x, s: State(h=x.u / s.h), False),
        (lambda x, s: State(h=exp(s.h) + x.u), False),
    ],
)
def test_affine(equation, affine):
    rec = recurrence(inputs="u", state="h", outputs="h", name="cell")(equation)
    facts = analyse(rec)
    assert facts.affine is affine
    assert (facts.transition is not None) is affine


def test_affine_with_a_matrix_is_no_scan():
    @recurrence(inputs="u", state="h", recurrent="h", outputs="h")
    def linear(x, s, r):
        return State(h=x.u + r.u)

    assert not analyse(linear).scan


@pytest.mark.parametrize(
    ("arguments", "equation", "message"),
    [
        ({"inputs": "u"}, lambda x, s: State(g=x.u), "return State"),
        ({"inputs": "u v"}, lambda x, s: State(h=x.u + s.h), "never used: x.v"),
        ({"inputs": "u", "params": "a"}, lambda x, s, p: State(h=x.u + s.h), "never used: p.a"),
        ({"inputs": "u"}, lambda x, s: State(h=x.w), "no x.w; declared: u"),
        ({"inputs": "u"}, lambda x, q: State(h=x.u), "arguments are x, s, r and p"),
        ({"inputs": "u", "outputs": "k"}, lambda x, s: State(h=x.u), r"State\(h=…\), Outputs\(k=…\)"),
        ({"inputs": "u", "initial": {"k": 1.0}}, lambda x, s: State(h=x.u), "not state variables: k"),
        ({"inputs": "u u"}, lambda x, s: State(h=x.u), "repeat a name"),
        ({"inputs": "u", "recurrent": "h", "gates": "v"}, lambda x, s: State(h=x.u), "gates are inputs"),
        ({"inputs": "1u"}, lambda x, s: State(h=x.u), "plain identifiers"),
    ],
)
def test_refused(arguments, equation, message):
    with pytest.raises((TypeError, ValueError, AttributeError), match=message):
        recurrence(**{"state": "h", "outputs": "h", "name": "cell"} | arguments)(equation)


@pytest.mark.parametrize("rec", EVERY, ids=lambda r: r.name)
def test_module_text(rec):
    """The file parses, is the same every time, holds the equations and no line that is too long."""
    text = emit_module(rec)
    tree = ast.parse(text)
    assert text == emit_module(rec)
    assert all(line.strip() in text for line in rec.source.splitlines())
    assert max(map(len, text.splitlines())) <= 120
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert {"step", "vjp", "step_tile", "vjp_tile"} <= names
    assert all(any(n.endswith(f"{way}_kernel") for n in names) for way in ("forward", "backward"))


def test_the_authors_names_are_kept():
    text = emit_module(slstm)
    assert "f_gate = torch.exp(torch.clamp(l - m, max=0.0))" in text
    assert "c = f_gate * s_c + i_gate * torch.tanh(z)" in text


def test_names_that_would_clash_are_changed():
    @recurrence(inputs="u", state="h", params="a", outputs="h")
    def cell(x, s, p):
        tl = x.u * p.a
        torch = tl * tl + s.h
        return State(h=torch * tl)

    text = emit_module(cell).split("import torch\n")[1]
    assert "    torch = " not in text
    assert "    tl = " not in text


@pytest.mark.parametrize("rec", [lru, mingru, minlstm], ids=lambda r: r.name)
def test_linear_where_it_is_linear(rec):
    facts = analyse(rec)
    assert facts.affine and facts.diagonal and facts.scan
    assert facts.constant_transition is (rec is lru)
    assert facts.traces is not None


@pytest.mark.parametrize("rec", [axon, lru], ids=lambda r: r.name)
def test_traces_read_one_number_a_channel_for_each_of_a_step(rec):
    """What a parameter does to the new state is a sum of products of two: of the step, and of the channel."""
    facts = analyse(rec)
    assert facts.traces is not None
    for node in walk(facts.traces.direct):
        parts = [{leaf.kind for leaf in leaves([a])} for a in node.args]
        assert node.op not in ("mul", "div") or ({"h"} in parts and all(len(p) == 1 for p in parts))


@pytest.mark.parametrize(
    ("equation", "why"),
    [
        (lambda x, s: State(h=0.5 * s.h + x.u, k=s.k + x.u), ""),
        (lambda x, s: State(h=s.h * s.k + x.u, k=x.u), "h times k"),
        (lambda x, s: State(h=s.h * s.h + x.u, k=s.k), "h times h"),
        (lambda x, s: State(h=x.u, k=tanh(s.h + s.k)), "h, k inside tanh"),
        (lambda x, s: State(h=x.u / (1.0 + s.k), k=s.h), "a number divided by k"),
        (lambda x, s: State(h=where(s.h < x.u, s.h, x.u), k=s.k), "a choice depends on h"),
    ],
)
def test_why_not_affine(equation, why):
    rec = recurrence(inputs="u", state="h k", outputs="h", name="cell")(equation)
    assert obstacle(rec) == why
    assert analyse(rec).affine is (why == "")


@pytest.mark.parametrize(
    ("equation", "found"),
    [
        (lambda x, s: State(h=tanh(x.u), k=s.k + x.u), {"h": "[-1, 1]"}),
        (lambda x, s: State(h=s.h + sigmoid(x.u) * (sin(x.u) - s.h), k=2.0 * s.k), {"h": "[-1, 1]"}),
        (lambda x, s: State(h=sigmoid(x.u) * s.k + (1.0 - sigmoid(x.u)) * s.h, k=sin(s.h)), BOTH),
        (lambda x, s: State(h=sigmoid(x.u) * s.k, k=s.h + 1e-3), {}),  # k creeps away, and takes h with it
        (lambda x, s: State(h=s.h + sigmoid(x.u) * (2.0 - s.h), k=-s.k), {"k": "[-1, 1]"}),
    ],
)  # fmt: skip
def test_bounded_by_induction(equation, found):
    rec = recurrence(inputs="u", state="h k", outputs="h", name="cell")(equation)
    assert {n: str(i) for n, i in state_bounds(rec).items()} == found


def test_bounds_of_the_library():
    """The gated cells stay in [-1, 1]; affine ones with free inputs do not; nothing is claimed of sLSTM's sums."""
    assert {r.name: {n: str(i) for n, i in state_bounds(r).items()} for r in EVERY if state_bounds(r)} == {
        "gru": {"h": "[-1, 1]"},
        "lstm": {"h": "[-1, 1]"},
    }


@pytest.mark.parametrize(
    ("rec", "parts"),
    [
        (axon, ["A = [g, -phi; phi, g], the same at every step", "|A s| = r |s| with r in [0, 1]", "E_nu_c1"]),
        (lru, ["b = [gamma * x.re, gamma * x.im]", "|A s| = r |s| with r in [0, 1]", "E_gamma_log_im"]),
        (mingru, ["affine in (h): h' = a h + b", "a = 1.0 - z, follows the inputs", "stable: a is in [0, 1]"]),
        (minlstm, ["a = keep, follows the inputs", "b = (1.0 - keep) * (x.h + p.b_h)", "chunks of T at once"]),
        (gru, ["not affine in (h): R h inside sigmoid", "not diagonal: R mixes the h", "h stays in [-1, 1]"]),
        (slstm, ["bounded: not proved", "R of a head is 16 KiB in 32 bits, one program takes less than 64"]),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_describe(rec, parts):
    text = describe(rec, head_width=32 if rec.recurrent else None, used=["A at 1:1"], measured=["forward 1 us"])
    for part in (*parts, *rec.source.splitlines(), "A at 1:1", "forward 1 us", "predicted, H100, 16 rows x 256 steps"):
        assert part in text


def test_describe_says_when_a_matrix_is_split():
    assert "units are spread over programs" in describe(slstm, head_width=256)
    assert CROWDED // 1024 == 64


def test_source_without_docstring_however_it_is_written(tmp_path):
    """A comment behind the colon, quotes and backslashes in what the author wrote, a body on the line of the `def`."""
    path = tmp_path / "cells_as_written.py"
    path.write_text(
        "from cortexc.equations import State, recurrence\n\n"
        "@recurrence(inputs='u', state='h', outputs='h')\n"
        "def one(x, s):  # symbols: in\n"
        "    r'''Some \"\"\" and \\\\ of the author.'''\n"
        '    a = x.u  # """ here too: \\\\\n'
        "    return State(h=a + s.h)\n\n"
        "@recurrence(inputs='u', state='h', outputs='h')\n"
        "def two(x, s): return State(h=x.u + 0.5 * s.h)\n"
    )
    spec = importlib.util.spec_from_file_location("cells_as_written", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    assert module.one.source.splitlines()[1] == "return State(h=a + s.h)"
    assert module.two.source == "return State(h=x.u + 0.5 * s.h)"
    for rec in (module.one, module.two):
        doc = ast.get_docstring(ast.parse(emit_module(rec)))
        assert all(line in doc for line in (*rec.source.splitlines(), *rec.doc.splitlines()))


def test_description_of_a_lambda_comes_from_its_expressions():
    rec = eval("make(lambda x, s: State(h=0.5 * s.h - x.u))", {
        "make": recurrence(inputs="u", state="h", outputs="h", name="cell"), "State": State
    })  # fmt: skip
    assert rec.source == "" and "h' = 0.5 * s.h - x.u" in describe(rec)


def test_bound():
    """By hand: minGRU moves 3 numbers a channel forward; with traces it reads its inputs and h once more."""
    found, tokens = cost(mingru, width=256), 16 * 256
    assert bound(found, tokens=tokens).seconds == pytest.approx(3 * 256 * 4 * tokens / H100.bandwidth)
    assert bound(found, tokens=tokens, traces=True).seconds == pytest.approx(6 * 256 * 4 * tokens / H100.bandwidth)
    wide = cost(gru, width=4096)
    least = bound(wide, tokens=tokens, backward=True)
    assert least.limit == "arithmetic"
    assert least.seconds > 3 * wide.flops_product * tokens / H100.product_flops


def test_lines_name_their_equation():
    text = emit_module(slstm)
    assert "d_c1 = d_c + t4 * t5  # adjoint of c = f_gate * s.c + i_gate * tanh(z)" in text
    assert "l = s_m + log_sigmoid(f)\n" in text, "a line that reads as its equation needs no comment"
    assert "i_gate = torch.exp(torch.clamp(i - m, max=0.0))  # i_gate = exp(minimum(0.0, i - m))" in text
    assert "# adjoint of i = x.i + r.i" in text
    assert "# adjoint of z = sigmoid(x.z + p.b_z)" in emit_module(mingru), "under hoisted parameters too"


def test_cost():
    """sLSTM: 8 H d flops of matrices forward, 5 H s bytes, 12 H bytes of c, n, m kept and y."""
    found = cost(slstm, width=256, head_width=64, itemsize=2)
    assert 8 * 256 * 64 < found.flops_forward < 1.25 * 8 * 256 * 64
    assert found.bytes_forward == 5 * 256 * 2
    assert found.bytes_kept == 256 * (12 + 2)
    assert cost(axon, width=256).bytes_forward == 3 * 256 * 4
    assert cost(axon, width=256).bytes_traces == 8 * 256 * 4


def test_no_torch_at_import():
    code = "import sys; import cortexc.compiler.recurrence, cortexc.compiler.library.recurrences; "
    code += "assert 'torch' not in sys.modules and 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""What is proved of recurrences, what is refused, and what is said about them."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from cortexc.compiler.library.recurrences import axon, gru, lstm, slstm
from cortexc.compiler.recurrence import State, analyse, cost, describe, emit_module, exp, recurrence, where
from cortexc.compiler.recurrence.expr import leaf

EVERY = [axon, gru, lstm, slstm]


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
        ({"inputs": "u", "outputs": "k"}, lambda x, s: State(h=x.u), "not state variables: k"),
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
    assert {"step", "vjp", "step_tile", "vjp_tile", "forward_kernel", "backward_kernel"} <= names


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


def test_describe():
    text = describe(axon)
    for part in ("A = [h_g, -h_phi; h_phi, h_g]", "E_nu_c1", "scan", "cost per token"):
        assert part in text
    assert "W411" in describe(slstm)


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

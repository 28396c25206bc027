"""Variables of a head and its features, totals, read-outs: what is proved, counted and refused."""

from __future__ import annotations

import pytest

from cortexc.compiler.library.recurrences import EQUATIONS, agalite, axon, gru
from cortexc.compiler.library.recurrences.register import register_recurrence
from cortexc.compiler.recurrence import Outputs, State, analyse, cost, describe, recurrence, sigmoid, tanh, total
from cortexc.compiler.recurrence.expr import const, leaf
from cortexc.compiler.recurrence.pattern import memory, pattern

A, B, O = leaf("x", "a"), leaf("x", "b"), const(0.0)


@pytest.mark.parametrize(
    ("matrix", "entries", "numbers", "steps"),
    [
        ([[A, O], [O, B]], 2, 2, None),
        ([[A, O], [O, A]], 2, 1, None),
        ([[A, B], [O, A]], 3, 2, None),
        ([[A, B], [O, B]], 3, 3, None),
        ([[A, B], [B, A]], 4, 4, None),  # equal sums in another order: rounded otherwise where they are longer
        ([[A, -B], [B, A]], 4, 4, None),
        ([[O, A], [O, O]], 3, 2, 2),
        ([[O, A, O], [O, O, A], [O, O, O]], 6, 3, 3),
        ([[O, A, O], [O, O, B], [O, O, O]], 6, 4, 3),
        ([[O, O], [O, O]], 2, 1, 1),
        ([[O, A], [B, O]], 4, 4, None),
    ],
)
def test_pattern(matrix, entries, numbers, steps):
    """Entries that products can have (the identity, an empty product, among them), distinct ones, and finite memory."""
    found = pattern(matrix, ["d"] * len(matrix))
    assert (len(found.place), len(found.first), memory(matrix)) == (entries, numbers, steps)
    assert all(found.place[at] == place for place, at in enumerate(found.first))


def test_numbers_of_different_shapes_are_told_apart():
    matrix = [[A, O], [O, A]]
    assert len(pattern(matrix, ["d", "d"]).first) == 1
    assert len(pattern(matrix, ["ed", "d"]).first) == 2


def test_agalite():
    """Two numbers of A; half of the frequencies are the others mirrored; y is no state."""
    rec = agalite(2, 1e-5)
    facts = analyse(rec)
    assert facts.scan and facts.traces is None and facts.backward_wide is None
    assert rec.state == ("keys0", "values0", "s") and rec.state_axes == ("ed", "d", "ed")
    assert len(facts.pattern.first) == 2 and facts.pattern.apart
    assert facts.readout.seen_by_state(rec.state) == (False, True, False), "the adjoint reads one number a channel"
    assert [len(agalite(r, 1e-5).state) for r in (1, 2, 3, 4)] == [3, 3, 5, 5]


def test_agalite_costs():
    """By hand: 5 inputs and y a channel, 18 features and a wave a head; kept 13 numbers a channel, 2 sums a head."""
    found = cost(agalite(2, 1e-5), width=256, head_width=32, features=6, itemsize=2)
    assert found.bytes_forward == 2 * (6 * 256 + 18 * 8) + 4 * 8
    assert found.bytes_kept == 4 * (13 * 256 + 2 * 8)
    assert found.bytes_state == 4 * 13 * 256
    assert found.bytes_backward == found.bytes_forward + 2 * (5 * 256 + 18 * 8) + found.bytes_kept


def test_agalite_described():
    text = describe(agalite(2, 1e-5), head_width=32, features=6)
    for part in (
        "none reads another: s' = a s + b, a follows the inputs",
        "keys0: a = 1.0 - gate, b = x.wave0 * key",
        "steps compose to 2 numbers of A, not 9",
        "p1, p2, p3: one number a feature of a head",
        "read out of the new state and not carried: y, with 2 sums over a head",
        "a program is one head of one row and chunk",
        "heads of 32 with 6 features",
    ):
        assert part in text


def test_families_are_found_by_name():
    for rec in (agalite(2, 1e-5), agalite(3, 1e-3), agalite(4, 2.5), agalite(1, 1e-12)):
        assert rec.name in EQUATIONS
        assert EQUATIONS[rec.name] is rec
    assert "agalite_r2_eps" not in EQUATIONS and "agalite_r0" not in EQUATIONS and "agalite" not in EQUATIONS


HEADED = {"inputs": "u p[e] w[]", "state": "m[ed] v", "outputs": "y", "name": "cell"}


def _fine(x, s):
    m = x.w * s.m + x.p * x.u
    return State(m=m, v=x.u), Outputs(y=x.u * total(m))


@pytest.mark.parametrize(
    ("changes", "equation", "message"),
    [
        ({"inputs": "u p[x] w[]"}, _fine, r"inputs are written name .* not p\[x\]"),
        ({"inputs": "u p[e w[]"}, _fine, r"not p\[e"),
        ({"state": "m[e] v"}, _fine, r"state are written name .* name\[d\], name\[ed\], not m\[e\]"),
        ({"recurrent": "v", "gates": "u"}, _fine, "a recurrence with matrices has no features"),
        ({}, lambda x, s: State(m=s.m + x.p * x.w * x.u, v=total(x.u)), "return State"),
        ({}, lambda x, s: (State(m=s.m + x.p * x.w, v=total(x.u)), Outputs(y=x.u)), r"the new state has a total"),
        ({}, lambda x, s: (State(m=s.m + x.p * x.w, v=x.u), Outputs(y=total(total(x.u)))), "a total of a total"),
        ({}, lambda x, s: (State(m=s.m + x.p * x.w, v=x.u), Outputs(y=total(2.0))), "a number has no total"),
        ({"outputs": "y x_z"}, _fine, "do not begin with"),
    ],
)
def test_refused_as_written(changes, equation, message):
    with pytest.raises((TypeError, ValueError), match=message):
        recurrence(**HEADED | changes)(equation)


@pytest.mark.parametrize(
    ("changes", "equation", "message"),
    [
        ({}, lambda x, s: (State(m=tanh(s.m) + x.p * x.w, v=x.u), Outputs(y=total(x.p * x.u))), "need an affine state"),
        ({}, lambda x, s: (State(m=s.m * x.p + s.v * x.w, v=x.u), Outputs(y=x.u)), r"m\[ed\] reads v\[d\]"),
        ({}, lambda x, s: (State(m=s.m + x.p, v=x.u * x.w), Outputs(y=x.u * x.p)), r"y\[d\] is computed from .* total"),
        ({}, lambda x, s: (State(m=s.m + x.u * x.w, v=x.p), Outputs(y=x.u)), r"v\[d\] is computed from what has axes"),
        ({}, lambda x, s: (State(m=s.m + x.p * x.w, v=x.u), Outputs(y=x.u + s.v)), r"y reads s.v; a read-out reads"),
        ({"outputs": "m"}, lambda x, s: State(m=s.m + x.p * x.w, v=x.u), "an output has one number a channel, not m"),
    ],
)
def test_refused_as_equations(changes, equation, message):
    rec = recurrence(**HEADED | changes)(equation)
    with pytest.raises(ValueError, match=message):
        analyse(rec)


def test_a_total_belongs_into_equations():
    with pytest.raises(TypeError, match="into the equations of a recurrence"):
        total(leaf("x", "u"))


def test_registering_is_refused_clearly():
    rec = recurrence(**HEADED)(_fine)
    with pytest.raises(ValueError, match=r"`cell` has heads .* call its op"):
        register_recurrence(rec)
    assert "cell" not in EQUATIONS
    mine = recurrence(inputs="u", state="h", outputs="h", name="agalite_r2")(lambda x, s: State(h=0.5 * s.h + x.u))
    with pytest.raises(ValueError, match="belongs to the library"):
        register_recurrence(mine)


def test_the_authors_name_of_a_total():
    @recurrence(inputs="u", state="h", outputs="y")
    def cell(x, s):
        h = sigmoid(x.u) * s.h + x.u
        mass = total(h * h)
        return State(h=h), Outputs(y=h / (1.0 + mass))

    assert [n for n, _ in cell.totals] == ["mass"]
    assert cell.headed and not axon.headed and not gru.headed

"""Fold removes what computes nothing and joins scalar steps."""

from __future__ import annotations

from cortexc.compiler.passes.fold import fold

from .support import applied, both, graph, node


def test_identities_vanish(golden) -> None:
    before = graph(
        node("add_scalar", "%x", "%a", c=0.0),
        node("mul_scalar", "%a", "%b", c=1.0),
        node("div_scalar", "%b", "%c", c=1.0),
        node("alias", "%c", "%d"),
        node("split", "%d", "%e", sizes=(4,)),
        node("tanh", "%e", "%y"),
        out="%y",
    )
    golden(both(before, applied(fold, before)))


def test_scalar_steps_join(golden) -> None:
    before = graph(
        node("mul_scalar", "%x", "%a", c=2.0),
        node("mul_scalar", "%a", "%b", c=4.0),
        node("add_scalar", "%b", "%c", c=1.0),
        node("add_scalar", "%c", "%y", c=-3.0),
        out="%y",
    )
    golden(both(before, applied(fold, before)))


def test_a_step_that_others_read_stays(golden) -> None:
    """Here through an alias: the reader of `%b` reads `%a` once the alias is gone."""
    before = graph(
        node("mul_scalar", "%x", "%a", c=2.0),
        node("alias", "%a", "%b"),
        node("mul_scalar", "%b", "%c", c=4.0),
        node("sub", "%c %b", "%y"),
        out="%y",
    )
    golden(both(before, applied(fold, before)))


def test_nothing_to_fold_is_the_same_graph() -> None:
    before = graph(node("mul_scalar", "%x", "%a", c=2.0), node("add_scalar", "%a", "%y", c=1.0), out="%y")
    assert applied(fold, before) is before

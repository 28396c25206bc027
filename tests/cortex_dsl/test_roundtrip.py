"""The printer is the inverse of the parser."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from cortexc.cortex_dsl import CortexStackConfig, format_spec, resolve
from cortexc.cortex_dsl.fold import folded

from .strategies import specs
from .support import pairs, quiet

slow_ok = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def check(spec: CortexStackConfig) -> None:
    text = format_spec(spec)
    again = quiet(text)
    assert again == spec
    assert hash(again) == hash(spec)
    assert format_spec(again) == text
    assert CortexStackConfig.model_validate_json(spec.model_dump_json()) == spec


@slow_ok
@given(specs)
def test_any_spec(spec: CortexStackConfig) -> None:
    """K9 K16 B1: parse(format(s)) == s, format is idempotent, JSON goes both ways."""
    check(spec)


@pytest.mark.long
@settings(slow_ok, max_examples=3000)
@given(specs)
def test_any_spec_long(spec: CortexStackConfig) -> None:
    """The same over many more."""
    check(spec)


@pytest.mark.parametrize(("written", "canonical"), pairs("canonical.txt"))
def test_canonical(written: str, canonical: str) -> None:
    """The examples of the language page print in their canonical form."""
    spec = quiet(written)
    assert format_spec(spec) == canonical
    assert quiet(canonical) == spec


def test_resolved_spec_round_trips() -> None:
    """U14: a resolved spec, with all its sizes, is text as well."""
    check(resolve(quiet("AXMS{top_k=2} x2 / AgLC"), 64))


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ("a", "a"),
        ("aaaa", "a x4"),
        ("ababab", "(a / b) x3"),
        ("aabaab", "(a x2 / b) x2"),
        ("abc", "a / b / c"),
        ("abcabcd", "(a / b / c) x2 / d"),
    ],
)
def test_folding(layers: str, text: str) -> None:
    """Equal neighbours become repeats, nested where that is shorter."""
    assert folded(layers) == text

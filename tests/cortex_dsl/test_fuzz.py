"""Whatever the text: a spec or a coded complaint, never another exception, never a hang."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cortexc.cortex_dsl import CODES, CortexStackConfig, check, format_spec, parse_ast, read

from .support import quiet

WORDS = [
    *"AXMSLCQ^/|()[]{},*@=:.x#\"", "Ag", "x4", "x0", "×2", " ", "  ", "\n", "\r\n", "\t", "\0", "\u0410",
    "let ", "stack ", "tissue ", "set ", "include ", "import ", " with ", "top_k", "mem_len", "preup", "postup_gated",
    "adapter", "column", "layer", "mlstm", "xl", "none", "true", "1", "-3", "2.5", "1e400", "32x32", "slstm", "XLCore",
    "d_hidden", "999999999999999", "num_layers", "hidden_size", "tissue_layer", '"3x3 {slstm: 1}"', '"AX"',
    "alpha_init", "family_types", "adapter_rank", "_",
]  # fmt: skip


def outcome(text: str) -> None:
    """A spec that prints and reads back, or complaints with known codes and a rendering."""
    spec, found = read(text, allow_include=False)
    assert spec is not None or found
    for diagnostic in found:
        assert diagnostic.code in CODES
        assert diagnostic.render()
        assert diagnostic.to_json()["message"]
    if spec is not None and not any(d.severity == "error" for d in found):
        assert isinstance(spec, CortexStackConfig)
        assert quiet(format_spec(spec)) == spec
        check(text, d_hidden=64, allow_include=False)


quickly = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quickly
@given(st.lists(st.sampled_from(WORDS), max_size=24).map("".join))
def test_words(text: str) -> None:
    """Texts made of the language's own pieces."""
    outcome(text)


@quickly
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_any_text(text: str) -> None:
    """Any text and any bytes."""
    outcome(text)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_many(seed: int) -> None:
    """100,000 strings: half of pieces, half of mutated patterns."""
    rng = random.Random(seed)
    good = ["AXMS x4", "(M x7 / S) x6", "let Q = preup(M)\nAQ", "X(mem_len=3)@postup(2.0){top_k=1} | A with d_hidden=8"]
    for i in range(25_000):
        if i % 2:
            text = "".join(rng.choices(WORDS, k=rng.randint(1, 20)))
        else:
            letters = list(rng.choice(good))
            for _ in range(rng.randint(1, 4)):
                letters[rng.randrange(len(letters))] = rng.choice(WORDS)
            text = "".join(letters)
        outcome(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000, "A" * 200_000, "A/" * 100_000, "A x999999999", "A*999999", "/" * 50_000, "\n/" * 50_000,
        "A\n" * 20_000, "A x4 x4 " * 5_000, "\0" * 1000, "[" * 60 + "A" + "]" * 60, "M (a=1 " * 1000, '"' * 10_001,
        "(A x9999) x9999", "let a = M\n" * 2000, "X(" * 60 + ")" * 60, "9" * 10_000, "AX " * 3000, "#" * 100_000,
        "A with num_layers=99999999999", "= " * 20_000, "((((A x100) x100) x100) x100)", "A@adapter" * 2000,
    ],
    ids=lambda t: f"{t[:8]!r}x{len(t)}",
)  # fmt: skip
def test_hostile(text: str) -> None:
    """Large and deep texts end soon, with a limit that is named."""
    _, found = read(text)
    assert all(d.code in CODES for d in found)


@pytest.mark.parametrize(
    ("step", "code"),
    [("column({0}, {0})", "E604"), ("{0}@adapter@adapter@adapter", "E602"), ("passthrough(stack({0}, {0}))", "E604")],
)
def test_definitions_cannot_explode(step: str, code: str) -> None:
    """Each definition uses the one before: depth and size are measured, not met."""
    name = "d_{}".format
    lines = [f"let {name(0)} = M"] + [f"let {name(i + 1)} = {step.format(name(i))}" for i in range(200)]
    found = read("\n".join([*lines, name(60)]))[1]
    assert [d.code for d in found] == [code]


def test_large_specs_print() -> None:
    """At the limits a spec still resolves, prints and reads back."""
    for text in ("A" + "@adapter" * 64, "(AXMS / M^) x5000", "A*1024", "passthrough(" * 50 + "lstm" + ")" * 50):
        outcome(text)


def test_deep_tree_prints() -> None:
    """The tree of a text at the nesting limit still prints."""
    assert "Column" in parse_ast("(" * 60 + "A" + ")" * 60).pretty()

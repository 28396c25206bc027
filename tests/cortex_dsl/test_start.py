"""What a start costs, and the table in the package."""

from __future__ import annotations

import logging
import subprocess
import sys

import lark
import pytest
from lark.exceptions import LexError

from cortexc.cortex_dsl import _table
from cortexc.cortex_dsl.grammar_build import build, fingerprint, grammar_text
from cortexc.cortex_dsl.newlines import NewLines
from cortexc.cortex_dsl.parser import lark_parser

HEAVY = ("torch", "sympy", "typer", "tensordict", "triton", "numpy")


def test_import_is_light() -> None:
    """Importing the language and parsing load nothing heavy."""
    code = (
        "import sys; from cortexc.cortex_dsl import parse; parse('AXMS x4'); "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_table_fits_grammar() -> None:
    """The table in the package was built from this grammar (else run grammar_build)."""
    assert fingerprint(grammar_text()) == _table.GRAMMAR


def test_table_parses_as_the_grammar() -> None:
    """A fresh build gives the same trees as the table."""
    fresh = build(grammar_text())
    for text in ("AX(a=1)*2 x3 | (M)x2 S{k=1} with a=b", 'let Q = p(m, 2.0)\n["A", X] x2', "tissue T = 3x3 {a: 1} r=2"):
        assert fresh.parse(text, start="program") == lark_parser().parse(text, start="program")


def test_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    """LALR(1) without a single shift/reduce conflict; Lark logs each one it settles by itself."""
    lark.logger.addHandler(caplog.handler)
    old = lark.logger.level
    lark.logger.setLevel(logging.DEBUG)
    try:
        build(grammar_text(), debug=True)
        assert "onflict" not in caplog.text
        ambiguous = 'start: e\ne: e "+" e | "1"\n'
        lark.Lark(ambiguous, parser="lalr", debug=True)
        assert "onflict" in caplog.text, "the check itself must be able to fail"
    finally:
        lark.logger.setLevel(old)
        lark.logger.removeHandler(caplog.handler)


def test_grammar_is_strict() -> None:
    """No two terminals can match the same text where both may stand, and no reduction is chosen for us."""
    build(grammar_text(), strict=True)
    with pytest.raises(LexError, match="Collision"):
        lark.Lark('start: A | B\nA: "a"+\nB: /a+/\n', parser="lalr", strict=True)


def test_new_lines_do_not_look_ahead() -> None:
    """The post-lexer gives each token before it asks for the next."""
    asked: list[int] = []

    class Token:
        type = "WORD"

    def stream() -> object:
        for i in range(3):
            asked.append(i)
            yield Token()

    out = NewLines().process(stream())
    next(out)
    assert asked == [0]

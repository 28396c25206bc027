"""Colours agree with the language: same words, same pieces, the same in Pygments and TextMate."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from lark import Token
from pygments.token import Error

from cortexc.cortex_dsl import RECIPES, highlight
from cortexc.cortex_dsl.highlight import PYGMENTS, TEXTMATE, CortexLexer, builtins, rules, textmate
from cortexc.cortex_dsl.parser import lark_parser
from cortexc.cortex_dsl.scan import pieces
from cortexc.cortex_dsl.spec import kinds

from .support import pairs

EDITORS = Path(__file__).parents[2] / "editors"
FILE = """# demo
let Q = preup(mlstm(num_heads=8), proj_factor=1.5)
tissue T = 32x32 {slstm: 0.7, axon: 0.3} r=1
stack trunk = (AXMS / M^) x2 with post_norm=false
set XLCore.mem_len = 64
include "other.cortex"
import my.tokens
(AXMS)x2 Q@adapter(bottleneck=32)*2 {top_k=2} | T ×3 [A, "M X"] stack(A)
"""
TEXTS = [FILE, *(r.pattern for r in RECIPES.values()), *(a for a, _ in pairs("canonical.txt"))]
TEXTS += [a for a, _ in pairs("seed_patterns.txt")]
# What each terminal of the grammar may look like.
CLASSES = {
    "WORD": {"token", "builtin", "option", "type", "definition", "scaffold", "constant"},
    "REPEAT": {"repeat"},
    "DIMS": {"number"},
    "NUMBER": {"number"},
    "INT": {"number"},
    "STRING": {"string"},
    "SEP": {"operator"},
}


def coloured(text: str) -> list[tuple[int, str, Any]]:
    """What Pygments says of a text."""
    return [(at, piece, kind) for at, kind, piece in CortexLexer().get_tokens_unprocessed(text) if piece]


def by_textmate(text: str) -> dict[int, tuple[str, str]]:
    """What a TextMate editor does: at each place the first rule of those that match leftmost, line by line."""
    patterns = json.loads((EDITORS / "cortex.tmLanguage.json").read_text())["patterns"]
    compiled = [(re.compile(p["match"]), p["captures"]) for p in patterns]
    found: dict[int, tuple[str, str]] = {}
    for line in re.finditer(r"[^\n]+", text):
        at = line.start()
        while at < line.end():
            hits = [(m, c) for r, c in compiled if (m := r.search(text, at, line.end())) and m.end() > m.start()]
            if not hits:
                break
            match, captures = min(hits, key=lambda hit: hit[0].start())
            for group, scope in captures.items():
                found[match.start(int(group))] = (match[int(group)], scope["name"])
            at = match.end()
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_pygments_agrees_with_the_grammar(text: str) -> None:
    """Nothing right is marked wrong, nothing is lost, and each token of the parser has a colour of its kind."""
    found = coloured(text)
    assert "".join(piece for _, piece, _ in found) == text
    assert not [piece for _, piece, kind in found if kind is Error]
    names = {kind: name for name, kind in PYGMENTS.items()}
    colours = {at: (piece, names[kind]) for at, piece, kind in found}
    tree = lark_parser().parse(text, start="program")
    for token in tree.scan_values(lambda v: isinstance(v, Token)):
        if token.type in CLASSES:
            piece, name = colours[token.start_pos]
            assert (piece, name in CLASSES[token.type]) == (str(token), True), (token, name)


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_the_same(text: str) -> None:
    """The scanner that finds mistakes cuts a text where the colours change."""
    starts = {at for at, piece, kind in coloured(text) if piece.strip() and not piece.startswith("#")}
    assert starts == {p.start for p in pieces(text) if p.kind != "newline"}


@pytest.mark.parametrize("text", TEXTS)
def test_textmate_agrees_with_pygments(text: str) -> None:
    """Both editors' worlds colour alike."""
    wanted = {PYGMENTS[name]: f"{scope}.cortex" for name, scope in TEXTMATE.items()}
    expected = {at: (piece, wanted[kind]) for at, piece, kind in coloured(text) if kind in wanted}
    assert by_textmate(text) == expected


def test_textmate_file_is_fresh() -> None:
    """The file in `editors/` is what the generator writes."""
    assert (EDITORS / "cortex.tmLanguage.json").read_text(encoding="utf-8") == textmate()


def test_words() -> None:
    """Keywords are those of the grammar; built-in names are those of the kinds."""
    terminals = {t.pattern.value for t in lark_parser().terminals if t.pattern.type == "str"}
    assert {t for t in terminals if t.isalpha()} == set(highlight.KEYWORDS)
    assert {"mlstm", "preup_gated", "column", "stack", "layer", "tissue_layer"} <= set(builtins())
    assert set(builtins()) <= {*kinds("core"), *kinds("scaffold"), "column", "stack", "layer", "tissue_layer"}


def test_mistakes_are_marked() -> None:
    """An open string, `x0` and foreign letters are errors to the eye as well."""
    for text in ('A "x', "A x0", "A \u0425"):
        assert Error in [kind for _, _, kind in coloured(text)]
    assert all(len(classes) == re.compile(pattern).groups for pattern, classes in rules())


def test_editor_files_are_json() -> None:
    """The extension's files parse, and name each other."""
    package = json.loads((EDITORS / "package.json").read_text())["contributes"]
    assert (EDITORS / package["grammars"][0]["path"]).is_file()
    configuration = json.loads((EDITORS / package["languages"][0]["configuration"]).read_text())
    assert re.fullmatch(configuration["wordPattern"], "AX^")
    assert {"(", "[", "{", '"'} == {p["open"] for p in configuration["autoClosingPairs"]}

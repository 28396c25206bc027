"""Every code, its text, its fix."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest

from cortexc.cortex_dsl import (
    CODES,
    CoreConfig,
    CortexSpecError,
    CortexStackConfig,
    CortexSyntaxError,
    LSTMCellConfig,
    check,
    explain,
    format_spec,
    parse,
    resolve,
)

PACKAGE = Path(__file__).parents[2] / "cortex_dsl"
WITH_BAD = [c for c in CODES.values() if c.bad]
# Codes that one text alone cannot show; the test that does is named beside each.
ELSEWHERE = {
    "E402": "test_patterns.test_include",
    "E403": "test_patterns.test_include",
    "E405": "test_patterns.test_import_needs_permission",
    "E501": "test_no_width",
    "E508": "test_two_widths",
    "E512": "test_unwritable",
    "E513": "runtime/test_adapter_calls.test_what_does_not_compile_yet",
    "E601": "test_too_long",
    "W301": "runtime/test_loader.test_edited_code_is_used_and_said",
    "W302": "runtime/test_tune.test_a_damaged_table_is_ignored_aloud_once",
    "W401": "runtime/test_backends.test_without_triton",
    "W402": "runtime/test_backends.test_triton_without_a_gpu",
    "W403": "runtime/test_backends.test_inductor_without_a_compiler",
    "W404": "kernels/native/test_library.test_a_text_that_does_not_compile_is_said_once",
    "W411": "kernels/recurrence/test_warnings",
    "W412": "kernels/recurrence/test_warnings",
    "W413": "runtime/test_adapters.test_a_large_matrix_of_each_row_falls_back_aloud",
}


def test_every_code_is_explained_and_shown() -> None:
    """Each code used in the sources has an explanation, and the other way round."""
    used = {
        code
        for path in PACKAGE.rglob("*.py")
        if path.name != "codes.py"
        for code in re.findall(r'"([EW]\d{3})"', path.read_text())
    }
    root = PACKAGE.parent
    running = {
        code
        for folder in ("runtime", "kernels")
        for path in (root / folder).rglob("*.py")
        for code in re.findall(r'"([EW]\d{3}) ', path.read_text())
    }
    assert used | running == set(CODES)
    assert {c for c, e in CODES.items() if not e.bad} == set(ELSEWHERE)


@pytest.mark.parametrize("code", WITH_BAD, ids=lambda c: c.code)
def test_bad_example_has_its_code(code: object) -> None:
    """The wrong text gives exactly this code; the right one gives nothing."""
    assert [d.code for d in check(code.bad)] == [code.code]
    assert not code.good or check(code.good) == []
    assert code.title in explain(code.code)


@pytest.mark.parametrize("code", WITH_BAD, ids=lambda c: c.code)
def test_every_message_is_complete(code: object) -> None:
    """Each complaint has a message, a short label, a place, and a text that shows it."""
    for diagnostic in check(code.bad):
        assert diagnostic.message
        assert diagnostic.span is not None
        assert len(diagnostic.label) < 120
        text = diagnostic.render()
        assert text.startswith(("error[", "warning["))
        assert "^" in text
        assert json.loads(json.dumps(diagnostic.to_json()))["code"] == code.code


FIXABLE = [
    "AX(mem_length=64)MS", "M (num_heads=8)", "AXMS x4 x2", "(A / X x2 x3) x2", "A / / X", "A /", "/ A", "AXMS AM^S",
    "AX x0", "A\u0425MS", "(AXMS x2", "AXMS) x2", "[A, X)", '["AXMS", "M]', "let AX = M\nA", "A@prup", "AS*0",
    "mlstn", "A x2 x3 / M", "Axm", "X(mem_len=-1)", "X(mem_len=true)", "A(activation=rel)", "preup()",
    "let Q = AX\nA", "set XLCor.mem_len = 64\nX", "set XLCore.memlen = 64\nX", "A^", "A / X with num_layers=3",
    "AX{topk=1}", "A with d_hiden=64", "tissue 4x4 {slstm: 1} radus=2", "tissue_layer(3)", "A\u200b X", "X^^", "a",
    "A@adapter(botleneck=3)", "tissue 4x4 {slstm: 1} mode=steam", "A\n/ X", "AXMS M^", "recipe:xlstm_7_2",
    " recipe:gtrx ",
    "X with d_hidden=250", "XXS / AM with d_hidden=125", "AgX(n_heads=5)\nM(num_heads=3)@preup(1.37) with d_hidden=100",
    "preup(stack(X, M))@adapter with post_norm=false d_hidden=33", "AX{top_k=3} with d_hidden=8",
    "stack trunk = AX with d_hidden=6", "A x3000 / X(n_heads=7) M(num_heads=5) with d_hidden=64",
]  # fmt: skip


@pytest.mark.parametrize("text", FIXABLE)
def test_suggested_fix_parses(text: str) -> None:
    """Applying the fix removes the complaint, and what is left parses."""
    found = check(text)
    assert found
    fix = found[0].fix
    assert fix is not None, found[0].render()
    mended = fix.apply(text)
    after = check(mended)
    assert not [d for d in after if d.severity == "error"], f"{mended!r}: {after and after[0].render()}"
    assert found[0].code not in [d.code for d in after]


def test_style() -> None:
    """The form of a message: code, place, caret, help, note."""
    assert (
        check("AX(mem_length=64)MS")[0].render()
        == """\
error[E301]: `xl` has no option `mem_length`
 --> <pattern>:1:4
  |
1 | AX(mem_length=64)MS
  |    ^^^^^^^^^^ unknown option of `X`
  = help: did you mean `mem_len`?
  = note: options: n_heads, head_dim, mem_len, attn_dropout, out_dropout, use_bias, use_axon_qkv"""
    )
    assert (
        check("AXQS")[0].render()
        == """\
error[E201]: unknown expert token `Q`
 --> <pattern>:1:3
  |
1 | AXQS
  |   ^ no token, definition or registered name starts here
  = note: known tokens: A Ag X X^ M M^ S S^ L C
  = help: define it with `let Q = ...`, or register it with `@register_token("Q")`"""
    )
    assert (
        check("AXMS x4 x2")[0].render()
        == """\
error[E103]: a repeat cannot be repeated
 --> <pattern>:1:9
  |
1 | AXMS x4 x2
  |         ^^ this layer already has a repeat
  = help: write `x8`, or group it: `(AXMS x4) x2`"""
    )
    assert (
        check("M (num_heads=8)")[0].render()
        == """\
error[E106]: arguments must touch the name they belong to
 --> <pattern>:1:3
  |
1 | M (num_heads=8)
  |   ^ a space before `(` starts a new group of layers
  = help: remove the space: `M(num_heads=8)`"""
    )


def test_all_errors_at_once() -> None:
    """One run finds the mistakes of every line and of every kind."""
    text = "let Q = M(num_head=2)\nset XLCor.mem_len = 1\nAXQ x2 x3 / A = 3 / B\nS(dropout=2.0)@prup / M^ x0"
    assert [d.code for d in check(text)] == ["E301", "E308", "E103", "E102", "E201", "E302", "E202", "E108"]


def test_width_error_names_the_place() -> None:
    """U14: layer, expert, place, what was got, the nearest widths that work."""
    spec = parse("XXS / AM", d_hidden=125)
    with pytest.raises(CortexSpecError) as caught:
        resolve(spec)
    message = caught.value.diagnostics[-1].message
    assert message == "layer 2, expert M at 1:8: width 250 is not divisible by num_heads 4; nearest: 248, 252"
    assert len(caught.value.diagnostics) == 4
    assert "nearest d_hidden: 124, 126" in caught.value.diagnostics[-1].notes
    assert caught.value.diagnostics[-1].path == "scaffolds[1].experts[1].core"


def test_no_width() -> None:
    """E501: a stack without `d_hidden` is told how to get one."""
    with pytest.raises(CortexSpecError, match="E501"):
        resolve(parse("A"))
    with pytest.raises(CortexSpecError, match="E501"):
        resolve(parse("A"), d_hidden=0)


def test_two_widths() -> None:
    """E508: two values for `d_hidden` are never settled silently."""
    with pytest.raises(CortexSpecError, match="E508"):
        resolve(parse("A with d_hidden=8"), d_hidden=16)


def test_unwritable() -> None:
    """E512: a config with a nested field has no text form, and says so."""

    class OddCoreConfig(CoreConfig):
        table: dict[str, int] = {}  # noqa: RUF012

    spec = CortexStackConfig(scaffolds=[LSTMCellConfig(core=OddCoreConfig(table={"a": 1}))])
    with pytest.raises(CortexSpecError, match="E512"):
        format_spec(spec)


def test_too_long() -> None:
    """E601: ten megabytes are refused before anything reads them."""
    with pytest.raises(CortexSyntaxError, match="E601"):
        parse("A" * 10_000_000)


def test_exception_is_a_syntax_error() -> None:
    """Notebooks show the caret: file name, line, column and text are those of Python's own."""
    with pytest.raises(SyntaxError) as caught:
        parse("AX\nAQ", source="demo.cortex")
    error = caught.value
    assert (error.filename, error.lineno, error.offset, error.text) == ("demo.cortex", 2, 2, "AQ")
    assert any("known tokens" in note for note in error.__notes__)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_explain_unknown_code() -> None:
    """`explain` knows near codes."""
    with pytest.raises(KeyError, match="did you mean"):
        explain("E3O1")
    assert "AX" in explain("e206")


def test_no_width_suits() -> None:
    """E502: heads that no near width divides give no fix, and soon."""
    text = "\n".join(["A"] * 3000 + ["X(n_heads=5000)"])
    found = check(text, d_hidden=64)
    assert [d.code for d in found] == ["E502"]
    assert found[0].fix is None


def test_width_of_the_call() -> None:
    """E502: a `d_hidden` that is not in the text is told, and cannot be mended there."""
    (found,) = check("X", d_hidden=250)
    assert found.fix is None
    assert found.help == "the nearest `d_hidden` that suits the whole stack is 252"

"""The verbs of the language, as a user runs them: check, fmt, expand, show, tokens, recipes, explain."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .conftest import COMMAND

FILE = """# demo
let Q = preup(mlstm(num_heads=8), proj_factor=1.5)
set XLCore.mem_len = 64
( AX )x2
Q
"""


def document(run, verb):
    """The JSON of a run that went well."""
    assert run.code == 0, run.err
    parsed = json.loads(run.out)
    assert parsed["schema"] == f"cortexc.{verb}/1"
    return parsed


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A file in the folder that the command runs in."""
    path = tmp_path / "demo.cortex"
    path.write_text(FILE)
    return path


def with_input(folder: Path, text: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Runs `cortexc ARGS` with a text on standard input."""
    return subprocess.run([*COMMAND, *args], cwd=folder, input=text, capture_output=True, text=True, timeout=120)


# -- where the text comes from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["check", "fmt", "expand", "show", "tokens"])
@pytest.mark.parametrize("how", ["pattern", "file", "stdin", "recipe"])
def test_every_verb_takes_every_source(demo: Path, piped, verb: str, how: str) -> None:
    """K16: a pattern, a file, standard input and a recipe, for each verb that reads the language."""
    if how == "stdin":
        done = with_input(demo.parent, FILE, verb, "-")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
    else:
        argument = {"pattern": "AX x2", "file": "demo.cortex", "recipe": "recipe:axms_x4"}[how]
        done = piped(verb, argument)
        assert done.code == 0, done.err
        assert done.out or verb == "fmt"


def test_compile_takes_a_recipe_and_a_file(demo: Path, piped) -> None:
    """K16: what `check` reads `compile` reads; the report has the canonical text."""
    report = document(piped("compile", "recipe:cortex_auto", "--d-hidden", "16", "--json"), "compile")["report"]
    assert report["pattern"] == "A@preup / M@preup / S@postup"
    report = document(piped("compile", "demo.cortex", "--d-hidden", "32", "--json"), "compile")["report"]
    assert report["pattern"].startswith("A X(mem_len=64) x2 / M(num_heads=8)@preup")


def test_bad_sources(piped, tmp_path: Path) -> None:
    """A file that is not there, a folder, bytes that are no text: exit 1, no traceback."""
    (tmp_path / "bytes.cortex").write_bytes(b"A \xff\xfe")
    (tmp_path / "folder.cortex").mkdir()
    for name, why in (("none.cortex", "No such file"), ("folder.cortex", "directory"), ("bytes.cortex", "not UTF-8")):
        done = piped("check", name)
        assert (done.code, done.out) == (1, "")
        assert why in done.err
        assert "Traceback" not in done.err
    assert piped("check").code == 2
    assert piped("check", "A", "--nothing").code == 2


# -- check -----------------------------------------------------------------------------------------------------------


def test_check(piped) -> None:
    """The canonical text of what is right; several patterns in one run."""
    done = piped("check", "( AXMS )x2", "A,X")
    assert (done.code, done.out, done.err) == (0, "ok  (AXMS) x2\nok  AX\n", "")
    parsed = document(piped("check", "A,X", "--d-hidden", "64", "--json"), "check")
    (result,) = parsed["results"]
    assert (parsed["ok"], result["pattern"], result["d_hidden"], result["layers"]) == (True, "AX", 64, 1)


def test_check_tells_every_error_at_once(piped, tmp_path: Path) -> None:
    """All errors of a file, each with its place and a caret, on stderr; exit 1."""
    (tmp_path / "bad.cortex").write_text("let Q = M(num_head=2)\nAQ / ZX x2 x3\nA@prup\n")
    done = piped("check", "bad.cortex", "A")
    assert done.code == 1
    assert done.out == "ok  A\n"
    assert [line.split("]")[0] for line in done.err.splitlines() if line.startswith("error[")] == [
        "error[E301", "error[E201", "error[E103", "error[E202"
    ]  # fmt: skip
    assert " --> bad.cortex:2:6" in done.err
    assert done.err.count("^") >= 4


def test_check_sizes(piped) -> None:
    """U14: sizes are checked too, with the nearest width that works."""
    done = piped("check", "X with d_hidden=250")
    assert done.code == 1
    assert "nearest `d_hidden` that suits the whole stack is 252" in done.err
    assert piped("check", "X", "--d-hidden", "250").code == 1


def test_check_warnings(piped) -> None:
    """Warnings pass, unless they are made errors."""
    done = piped("check", "A^")
    assert (done.code, done.out) == (0, "ok  A^\n")
    assert "warning[W701]" in done.err
    done = piped("check", "A^", "--error-on-warning")
    assert (done.code, done.out) == (1, "")


def test_check_json_has_the_diagnostics(piped) -> None:
    """The same object as JSON: code, place and fix."""
    done = piped("check", "AX(mem_length=3)", "--json")
    assert done.code == 1
    parsed = json.loads(done.out)
    assert (parsed["schema"], parsed["ok"]) == ("cortexc.check/1", False)
    (found,) = parsed["results"][0]["diagnostics"]
    assert (found["code"], found["where"]["column"], found["fix"]["replacement"]) == ("E301", 4, "mem_len")


def test_import_needs_the_flag(piped, tmp_path: Path) -> None:
    """K14: a text runs Python only if the user says so."""
    (tmp_path / "my_tokens.py").write_text(
        "from cortexc.cortex_dsl import register_token, XLCellConfig\n"
        "@register_token('Zz')\ndef build():\n    return XLCellConfig()\n"
    )
    done = piped("check", "import my_tokens\nAZz")
    assert done.code == 1
    assert "--allow-import" in done.err
    path = {"PYTHONPATH": f"{tmp_path}:{':'.join(__import__('sys').path)}"}
    assert piped("check", "import my_tokens\nAZz", "--allow-import", **path).code == 0
    assert "Zz" in piped("tokens", "import my_tokens\nAZz", "--allow-import", **path).out


# -- fmt -------------------------------------------------------------------------------------------------------------


def test_fmt_pattern(piped) -> None:
    """The canonical text on stdout; a mistake is told, and nothing printed."""
    assert piped("fmt", '["AXMS", "M"]').out == "AXMS / M\n"
    assert document(piped("fmt", "A,X", "--json"), "fmt")["changed"] is True
    assert document(piped("fmt", "AX", "--json"), "fmt")["changed"] is False
    done = piped("fmt", "AX (")
    assert (done.code, done.out) == (1, "")
    assert "error[E104]" in done.err


def test_fmt_file_in_place(demo: Path, piped) -> None:
    """Files are rewritten once; definitions and comments stay, and so does the meaning."""
    before = document(piped("expand", "demo.cortex", "--json"), "expand")["spec"]
    done = piped("fmt", "demo.cortex")
    assert (done.code, done.out, done.err) == (0, "", "reformatted demo.cortex\n")
    text = demo.read_text()
    assert text == FILE.replace("( AX )x2\nQ\n", "(AX) x2 / Q\n")
    assert document(piped("expand", "demo.cortex", "--json"), "expand")["spec"] == before
    done = piped("fmt", "demo.cortex")
    assert (done.code, done.err, demo.read_text()) == (0, "", text)


def test_fmt_check_and_diff(demo: Path, piped) -> None:
    """`--check` and `--diff` write nothing; `--check` fails where something would change."""
    done = piped("fmt", "demo.cortex", "--check")
    assert (done.code, done.out, done.err) == (1, "", "would reformat demo.cortex\n")
    done = piped("fmt", "demo.cortex", "--diff")
    assert done.code == 0
    assert "-( AX )x2\n" in done.out
    assert "+(AX) x2 / Q\n" in done.out
    assert piped("fmt", "demo.cortex", "--check", "--diff").code == 1
    assert demo.read_text() == FILE
    assert piped("fmt", "AX", "--check").code == 0
    assert piped("fmt", "A,X", "--check").code == 1


def test_fmt_is_all_or_nothing(demo: Path, piped, tmp_path: Path) -> None:
    """A mistake in one file leaves every file as it was."""
    (tmp_path / "bad.cortex").write_text("A ( /")
    assert piped("fmt", "demo.cortex", "bad.cortex").code == 1
    assert demo.read_text() == FILE


# -- the rest --------------------------------------------------------------------------------------------------------


def test_expand(demo: Path, piped) -> None:
    """B8: every value, and where it came from."""
    out = piped("expand", "demo.cortex", "--d-hidden", "64").out
    assert "scaffolds[0].experts[1].core.mem_len = 64  # set at 3:1" in out
    assert "scaffolds[2].experts[0].core.num_heads = 8  # option at 2:21" in out
    assert "d_hidden = 64  # inferred" in out
    parsed = document(piped("expand", "X", "--d-hidden", "64", "--only", "*.mem_len", "--json"), "expand")
    (value,) = parsed["values"]
    assert (value["value"], value["origin"]) == (128, "default")
    assert parsed["spec"]["d_hidden"] == 64
    assert piped("expand", "X", "--only", "nothing").code == 1


def test_show_formats(piped) -> None:
    """K9 B1: layers and experts as a tree, a Mermaid chart, JSON."""
    text = "AX x2 / M@adapter(bottleneck=8) | preup(stack(A, X))"
    out = piped("show", text, "--d-hidden", "64").out
    assert "├─ 0-1 x2  column" in out
    assert "X  xl in postup_gated at 64" in out
    assert "pipeline cut" in out
    assert "adapter  bottleneck=8" in out
    chart = piped("show", text, "--format", "mermaid").out
    assert chart.startswith("flowchart TD\n")
    assert "-. pipeline cut .->" in chart
    assert json.loads(piped("show", text, "--format", "json").out)["d_hidden"] == 256
    assert document(piped("show", "A", "--json"), "show")["files"]["tree"].startswith("stack")
    assert piped("show", "A", "--format", "svg").code == 2


@pytest.mark.parametrize("stage", ["ast", "spec", "graph", "plan", "code", "kernels"])
def test_show_stage(piped, stage: str) -> None:
    """Every stage on the way to code."""
    files = document(piped("show", "S", "--d-hidden", "16", "--stage", stage, "--json"), "show")["files"]
    text = "\n".join(files.values())
    assert text.strip()
    assert text.splitlines()[0] in piped("show", "S", "--d-hidden", "16", "--stage", stage).out
    if stage in ("code", "kernels"):
        for name, source in files.items():
            compile(source, name, "exec")


def test_show_unknown_stage(piped) -> None:
    assert piped("show", "A", "--stage", "assembly").code == 2


def test_tokens(demo: Path, piped) -> None:
    """K1 K2 K3 K4 K5 K6 K7: the built-in tokens; those that a file defines."""
    names = {token["name"] for token in document(piped("tokens", "--json"), "tokens")["tokens"]}
    assert names == {"A", "Ag", "X", "X^", "M", "M^", "S", "S^", "L", "C"}
    assert piped("tokens").out.startswith("token")
    own = [t for t in document(piped("tokens", "demo.cortex", "--json"), "tokens")["tokens"] if not t["built_in"]]
    assert own == [{"name": "Q", "summary": "PreUp(mLSTMCore)", "built_in": False}]


def test_recipes(piped) -> None:
    """V5e: named stacks, found by wildcard; each line can be used as it stands."""
    found = document(piped("recipes", "xlstm*", "--json"), "recipes")["recipes"]
    assert {"xlstm_7_1", "xlstm_1_1"} <= {r["name"] for r in found}
    assert next(r for r in found if r["name"] == "xlstm_7_1")["pattern"] == "(M x7 / S) x6"
    assert "cortex_auto" in piped("recipes").out
    done = piped("recipes", "xlstn_7_1")
    assert done.code == 1
    assert "did you mean `xlstm_7_1`" in done.err
    assert "did you mean `axms_x4`" in piped("check", "recipe:axms_x5").err


def test_explain(piped) -> None:
    assert "E201" in document(piped("explain", "e201", "--json"), "explain")["code"]
    assert len(piped("explain", "E201").out) > 40


def test_explain_unknown_code(piped) -> None:
    done = piped("explain", "E999999")
    assert done.code == 1
    assert "E999999" in done.err

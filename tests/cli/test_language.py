"""check, fmt, expand, tokens, explain and show: text and JSON."""

import json

import pytest


def document(run, verb):
    """The JSON of a run that went well."""
    assert run.code == 0, run.err
    parsed = json.loads(run.out)
    assert parsed["schema"] == f"cortexc.{verb}/1"
    return parsed


def test_check(piped):
    assert piped("check", "( AXMS )x2").out.startswith("ok")
    parsed = document(piped("check", "A,X", "--d-hidden", "64", "--json"), "check")
    assert (parsed["ok"], parsed["pattern"], parsed["d_hidden"]) == (True, "AX", 64)


def test_check_tells_every_error_at_once(piped):
    done = piped("check", "AQ / ZX")
    assert done.code == 1
    assert done.err.count("error[") == 2


def test_fmt(piped):
    assert piped("fmt", '["AXMS", "M"]').out == "AXMS / M\n"
    assert document(piped("fmt", "A,X", "--json"), "fmt")["changed"] is True


def test_expand_writes_defaults_out(piped):
    spec = document(piped("expand", "X", "--d-hidden", "64", "--json"), "expand")["spec"]
    assert spec["d_hidden"] == 64
    assert '"mem_len": 128' in piped("expand", "X").out


def test_tokens(piped):
    names = {token["name"] for token in document(piped("tokens", "--json"), "tokens")["tokens"]}
    assert {"A", "X", "M", "S"} <= names
    assert piped("tokens").out.startswith("token")


def test_explain(piped):
    assert "E201" in document(piped("explain", "e201", "--json"), "explain")["code"]
    assert len(piped("explain", "E201").out) > 40


def test_explain_unknown_code(piped):
    done = piped("explain", "E999999")
    assert done.code == 1
    assert "E999999" in done.err


@pytest.mark.parametrize("stage", ["ast", "spec", "graph", "plan", "code", "kernels"])
def test_show(piped, stage):
    files = document(piped("show", "S", "--d-hidden", "16", "--stage", stage, "--json"), "show")["files"]
    text = "\n".join(files.values())
    assert text.strip()
    assert text.splitlines()[0] in piped("show", "S", "--d-hidden", "16", "--stage", stage).out
    if stage in ("code", "kernels"):
        for name, source in files.items():
            compile(source, name, "exec")


def test_show_unknown_stage(piped):
    assert piped("show", "A", "--stage", "assembly").code == 2

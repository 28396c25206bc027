"""`cortexc doctor` finds what is there, and names a remedy for what is not."""

import json
import re
from pathlib import Path

import pytest
import torch

from cortexc.cli.doctor import SWITCHES, examine


def by_name():
    return {finding.name: finding for finding in examine()}


def test_document(piped):
    done = piped("doctor", "--json")
    assert done.code == 0, done.out
    document = json.loads(done.out)
    assert document["schema"] == "cortexc.doctor/1"
    findings = {finding["name"]: finding for finding in document["findings"]}
    assert findings["torch"]["value"].startswith(torch.__version__.partition("+")[0])
    assert {"Python", "triton", "tensordict", *SWITCHES} <= findings.keys()


def test_every_remark_has_a_hint():
    assert all(finding.hint for finding in examine() if finding.status != "ok")


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize(("value", "status"), [("1", "note"), ("true", "note"), ("0", "ok"), ("", "ok")])
def test_switches(monkeypatch, switch, value, status):
    monkeypatch.setenv(switch, value)
    assert by_name()[switch].status == status


def test_missing_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    finding = by_name()["C++ compiler"]
    assert finding.status == "note"
    assert "no-such-compiler" in finding.value


@pytest.mark.parametrize(
    ("name", "variable"), [("code cache", "CORTEXC_CACHE_DIR"), ("kernel cache", "TRITON_CACHE_DIR")]
)
def test_caches(monkeypatch, tmp_path: Path, name, variable):
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    assert (by_name()[name].status, by_name()[name].value) == ("ok", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file/cache"))
    assert by_name()[name].status == "note"
    assert variable in by_name()[name].hint


def test_colour_only_where_wanted(on_terminal):
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    assert colour.search(on_terminal("doctor").out)
    assert not colour.search(on_terminal("doctor", NO_COLOR="1").out)


def test_steps_that_are_not_compiled(monkeypatch):
    monkeypatch.delenv("CORTEXC_NATIVE", raising=False)
    assert (by_name()["CORTEXC_NATIVE"].status, by_name()["CORTEXC_NATIVE"].value) == ("ok", "not set")
    monkeypatch.setenv("CORTEXC_NATIVE", "0")
    finding = by_name()["CORTEXC_NATIVE"]
    assert finding.status == "note" and "unset it" in finding.hint

"""Internal errors: exit code 5, no traceback unless asked for."""

import json

import pytest
from typer.testing import CliRunner

import cortexc.compiler
from cortexc.cli.app import app


@pytest.fixture
def broken(monkeypatch):
    """A compiler with a fault in it."""

    def build(*args, **kwargs):
        raise RuntimeError("the verifier found a loose end")

    monkeypatch.setattr(cortexc.compiler, "build", build)
    monkeypatch.delenv("CORTEXC_TRACEBACK", raising=False)


def test_internal_error(broken):
    result = CliRunner().invoke(app, ["compile", "A"])
    assert result.exit_code == 5
    assert "internal error: RuntimeError: the verifier found a loose end" in result.stderr
    assert "CORTEXC_TRACEBACK=1" in result.stderr
    assert "Traceback" not in result.stderr


def test_internal_error_with_traceback(broken, monkeypatch):
    monkeypatch.setenv("CORTEXC_TRACEBACK", "1")
    result = CliRunner().invoke(app, ["compile", "A"])
    assert result.exit_code == 5
    assert "Traceback" in result.stderr


def test_internal_error_as_json(broken):
    result = CliRunner().invoke(app, ["show", "A", "--stage", "graph", "--json"])
    document = json.loads(result.stdout)
    assert (document["schema"], document["exit_code"]) == ("cortexc.error/1", 5)


def test_unknown_verb_suggests_one(piped):
    done = piped("complie", "A")
    assert done.code == 2
    assert "compile" in done.err

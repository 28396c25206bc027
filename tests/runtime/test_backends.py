"""What runs where, and what is said when it is not what was asked for. Covers W1-W3."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

from cortexc.cli import doctor
from cortexc.runtime import CortexWarning
from cortexc.runtime.backends import SWITCHES, check_device, effective_backend


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_forces_torch(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2, W3: any value but 0 and an empty one; the other backends stay what they are."""
    for value, expected in (("1", "eager"), ("yes", "eager"), ("0", "auto"), ("", "auto")):
        monkeypatch.setenv(switch, value)
        assert effective_backend("auto") == expected
    monkeypatch.setenv(switch, "1")
    assert [effective_backend(b) for b in ("triton", "inductor", "reference")] == ["eager", "inductor", "reference"]


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """W401 when it was asked for by name; silence when it was a choice of ours."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else found(name))
    with pytest.warns(CortexWarning, match="W401 triton is not installed"):
        assert effective_backend("triton") == "eager"
    assert effective_backend("auto") == "eager"


def test_triton_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.warns(CortexWarning, match="W402 backend 'triton' on cpu"):
        check_device("triton", "cpu")


def test_inductor_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.warns(CortexWarning, match="W403 backend 'inductor' on a CPU needs a C"):
        check_device("inductor", "cpu")


def test_doctor_shows_every_switch() -> None:
    """The command line keeps its own list, since it must speak also where torch cannot be imported."""
    assert doctor.SWITCHES == SWITCHES

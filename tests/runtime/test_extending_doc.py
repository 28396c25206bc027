"""The programs of docs/extending.md run as they stand, one after the other, and give what the page says. Covers Z5."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

import cortexc
from cortexc.cortex_dsl import default_registry

PAGE = (Path(__file__).parents[2] / "docs/extending.md").read_text()


def test_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEX_DISABLE_TRITON", "1")
    module = types.ModuleType("extending_doc")
    monkeypatch.setitem(sys.modules, "extending_doc", module)
    try:
        for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(code, "docs/extending.md", "exec"), vars(module))
    finally:
        default_registry().remove("Y")
    left = vars(module)
    assert left["y"].shape == (4, 16, 32)
    assert set(left["stack"].init_state(1)["LSTMCore"].keys()) == {"h", "c"}
    assert left["report"].ok and cortexc.check_core(left["HalfConfig"](core=left["LeakyCoreConfig"]())).ok

    class Multiplies(left["LeakyCore"]):  # type: ignore[misc, name-defined]
        def reset_state(self, state, mask):
            return left["TensorDict"]({"h": state["h"] * ~mask[:, None]}, [mask.shape[0]])

    printed = str(cortexc.check_core(Multiplies(left["LeakyCoreConfig"](hidden_size=4))))
    assert printed.replace("Multiplies", "LeakyCore") in PAGE.replace("\n    ", "\n")
    assert len(cortexc.check_core(left["LeakyCoreConfig"]()).passed) == 11

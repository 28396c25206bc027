"""Packages on disk that hold parts of users: loading imports what registers them, or says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cortexc
from cortexc.compiler.layout import LAYOUT
from cortexc.runtime import CortexLoadError

SOURCE = str(Path(cortexc.__file__).parents[1])

PARTS = """
import torch
from tensordict import TensorDict
from cortexc import CoreConfig, MemoryCore, register_core, register_token


class LeakyCoreConfig(CoreConfig):
    rate: float = 0.5


@register_core(LeakyCoreConfig)
class LeakyCore(MemoryCore):
    def __init__(self, cfg):
        super().__init__(cfg)
        self.rate = torch.nn.Parameter(torch.full((self.hidden_size,), cfg.rate))

    def init_state(self, batch, *, device, dtype):
        return TensorDict({"h": torch.zeros(batch, self.hidden_size, device=device, dtype=dtype)}, [batch])

    def forward(self, x, state, *, resets=None):
        return self.scan(self.update, x, state, resets)

    def update(self, x, state):
        h = state["h"] * self.rate + x
        return h, TensorDict({"h": h}, [x.shape[0]])


@register_token("Y")
def leaky():
    return LeakyCoreConfig()
"""
COMPILE = ["-m", "cortexc.cli", "compile", "import leaky_parts\nY(rate=0.25)A", "--d-hidden=8", "--name=mine"]
USE = """
import sys, torch, cortexc
for backend in (None, "reference"):
    stack = cortexc.load("mine", backend=backend)
    core = stack.layers[0].experts[0].core
    assert "leaky_parts" in sys.modules and core.rate.tolist() == [0.25] * 8
    print(type(core).__name__, stack.spec.scaffolds[0].experts[0].core.rate, *stack(torch.ones(2, 3, 8))[0].shape)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's module and the package compiled from it."""
    where = tmp_path_factory.mktemp("leaky")
    (where / "leaky_parts.py").write_text(PARTS)
    done = python(where, *COMPILE, "--allow-import", f"--out={where}")
    assert done.returncode == 0, done.stdout + done.stderr
    return where


def python(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh process that sees cortexc and the folder it runs in, and nothing of the tests."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TRITON"))}
    path = os.pathsep.join(filter(None, (SOURCE, str(cwd), os.environ.get("PYTHONPATH"))))
    env |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def test_loading_imports_the_owner(folder: Path) -> None:
    """As compiled, and compiled again for another backend."""
    done = python(folder, "-c", USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["LeakyCore 0.25 2 3 8"] * 2


def test_a_missing_owner_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is not on the path; it is, but registers nothing."""
    message = "this package holds LeakyCoreConfig of the module leaky_parts, which cannot be imported"
    with pytest.raises(CortexLoadError, match=message):
        cortexc.load(folder / "mine")
    (tmp_path / "leaky_parts.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CortexLoadError, match="importing leaky_parts did not register it: @register_core belongs at"):
        cortexc.load(folder / "mine")
    monkeypatch.delitem(sys.modules, "leaky_parts")


def test_parts_of_a_program(tmp_path: Path) -> None:
    """A class of __main__ works in its own program, and a package that holds one says why another cannot load it."""
    program = PARTS.replace("LeakyCore", "MainCore").replace('"Y"', '"Z"') + (
        "import cortexc\nfrom pathlib import Path\nfrom cortexc.compiler import build\n"
        "from cortexc.compiler.alone import as_stack\n"
        "build(as_stack(MainCoreConfig(), 8)[0]).write(Path('.'), 'mine')\n"
        "print(*cortexc.load('mine')(torch.ones(1, 2, 8))[0].shape)\n"
    )
    (tmp_path / "program.py").write_text(program)
    done = python(tmp_path, "program.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "2", "8"]
    assert json.loads((tmp_path / "mine" / LAYOUT).read_text())["owners"] == [["core", "MainCoreConfig", "__main__"]]
    with pytest.raises(CortexLoadError, match="ran as __main__; move the class to a module that can be imported"):
        cortexc.load(tmp_path / "mine")

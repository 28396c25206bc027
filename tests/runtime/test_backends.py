"""What runs where, and what is said when it is not what was asked for. Covers B10, W1-W3, W5."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

import cortexc
from cortexc.cli import doctor
from cortexc.compiler.passes.choose_kernels import CHOSEN
from cortexc.config import CausalConv1dCoreConfig, RecurrenceCoreConfig, sLSTMCoreConfig
from cortexc.runtime import CortexWarning
from cortexc.runtime.backends import SWITCHES, check_device, effective_backend

from ..tolerances import assert_close
from .contract import WIDTH, inputs, leaves, make, mask


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


WITHOUT = """
import sys
sys.modules["triton"] = None  # importing it fails, as where there is no wheel of it
import torch, cortexc
torch.manual_seed(0)
stack = cortexc.compile("A X M S Ag L C", d_hidden=16, device="cpu")
x = torch.randn(2, 6, 16)
y, state = stack(x)
y.square().sum().backward()
with torch.no_grad():
    print((stack.step(x[:, 0], state)[0] * x[:, 0]).sum().item())
"""


def test_in_a_process_without_triton() -> None:
    """Everything imports, runs forward, backward and steps, and gives the numbers of torch where Triton is."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    torch.manual_seed(0)
    stack = cortexc.compile("A X M S Ag L C", d_hidden=16, backend="eager", device="cpu")
    x = torch.randn(2, 6, 16)
    with torch.no_grad():
        expected = stack.step(x[:, 0], stack(x)[1])[0]
    assert_close(torch.tensor(float(done.stdout)), (expected * x[:, 0]).sum())


def test_triton_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.warns(CortexWarning, match="W402 backend 'triton' on cpu"):
        check_device("triton", "cpu")


def test_inductor_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.warns(CortexWarning, match="W403 backend 'inductor' on a CPU needs a C"):
        check_device("inductor", "cpu")


@pytest.mark.parametrize(
    ("backend", "slstm", "mlstm"),
    [
        ("reference", "reference loop", "reference loop"),
        ("eager", "torch loop", "triton chunks"),
        ("inductor", "torch loop", "triton chunks"),
        ("triton", "triton loop", "triton chunks"),
        ("auto", "triton loop", "triton chunks"),
    ],
)
def test_the_report_names_the_kernels_of_its_backend(backend: str, slstm: str, mlstm: str) -> None:
    """W1: what each backend runs a core by, with the reason beside it."""
    rows = cortexc.compile("S M", d_hidden=WIDTH, backend=backend).summary().rows
    assert rows[0].kernel == slstm and rows[0].why
    assert rows[1].kernel == mlstm


def test_doctor_shows_every_switch() -> None:
    """The command line keeps its own list, since it must speak also where torch cannot be imported."""
    assert doctor.SWITCHES == SWITCHES


# -- a backend for a core ----------------------------------------------------------------------------------------------

F32, F64 = torch.float32, torch.float64


@pytest.fixture
def choices() -> Iterator[None]:
    yield
    CHOSEN.clear()


def impls(stack: cortexc.CompiledStack) -> dict[str, str]:
    """What the generated sequence runs each core by: `slstm -> torch`, `conv -> causal_conv_reference`."""
    text = (stack.folder / "module.py").read_text().partition("def sequence(")[0]
    found = re.findall(r"\b(\w+)\.sequence\(.*?impl='(\w+)'", text, re.DOTALL)
    calls = re.findall(r" = ((?:causal_conv|mlstm|xl_attention|agalite)\w*)\(", text)
    return dict(found) | {call.removesuffix("_reference"): call for call in calls}


@pytest.mark.usefixtures("choices")
def test_a_backend_for_a_core() -> None:
    """W5: from then on, for one kind of core only; the numbers stay, and None takes it back."""
    pattern = "A X(mem_len=5) M(chunk_size=4) S"
    plain = make(pattern, "auto", F32)
    assert impls(plain)["slstm"] == impls(plain)["axon"] == "auto" and impls(plain)["mlstm"] == "mlstm"
    cortexc.set_backend("slstm", "eager")
    cortexc.set_backend("mlstm", "reference")
    cortexc.set_backend("xl", "reference")
    chosen = make(pattern, "auto", F32)
    assert impls(chosen) == impls(plain) | {"slstm": "torch"} | {
        name: f"{name}_reference" for name in ("mlstm", "xl_attention")
    }
    assert chosen.backend == plain.backend and chosen.folder != plain.folder
    x, m = inputs(13, F32), mask("random", 13)
    (y, state), (expected, wanted) = chosen(x, resets=m), plain(x, resets=m)
    assert_close(y, expected)
    for path, leaf in leaves(state).items():
        assert_close(leaf, leaves(wanted)[path], what=path)
    kernels = {row.token: row.kernel for row in chosen.summary().rows if row.token}
    assert kernels["S"] == "torch loop" and kernels["A"].startswith("triton") and kernels["M"] == "reference loop"
    for core in ("slstm", "mlstm", "xl"):
        cortexc.set_backend(core, None)
    assert make(pattern, "auto", F32).folder == plain.folder


@pytest.mark.usefixtures("choices")
@pytest.mark.parametrize("core", [sLSTMCoreConfig, sLSTMCoreConfig(num_heads=2), "slstm"])
def test_cores_by_class_config_or_name(core: object) -> None:
    cortexc.set_backend(core, "triton")
    assert CHOSEN == {"slstm": "triton"}
    assert impls(make("S", "eager", F64))["slstm"] == "auto"


@pytest.mark.usefixtures("choices")
def test_what_goes_with_a_core() -> None:
    """The convolution in M, a full-rank unit, a recurrence by its own name."""
    cortexc.set_backend(CausalConv1dCoreConfig, "reference")
    cortexc.set_backend("axon", "eager")
    cortexc.set_backend(RecurrenceCoreConfig(cell="gru"), "eager")
    assert impls(make("M", "auto", F32))["causal_conv"] == "causal_conv_reference"
    assert impls(make("A(use_fullrank_rtu=true)", "auto", F32)) == {"axon_fullrank": "torch"}
    assert impls(make("recurrence(cell=gru) recurrence(cell=lru)", "auto", F32)) == {"gru": "torch", "lru": "auto"}


@pytest.mark.parametrize(
    ("core", "backend", "message"),
    [
        ("lstn", "eager", r"core is 'lstn'; expected one of .*, slstm, .*did you mean `lstm`"),
        ("recurrence", "eager", "core is 'recurrence'"),
        ("lstm", "inductor", "backend is 'inductor'; expected one of reference, eager, triton, auto for a core"),
    ],
)
def test_refusals(core: str, backend: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cortexc.set_backend(core, backend)
    assert not CHOSEN


def test_compile_scaffolds() -> None:
    """B10: whether backend `inductor` runs each scaffold through torch.compile; names and numbers stay."""
    found = {}
    for flag in (True, False):
        torch.manual_seed(0)
        stack = cortexc.stacks.build_cortex_auto_stack(
            WIDTH, pattern="A", num_layers=2, compile_scaffolds=flag, backend="inductor", dtype=F64
        )
        code = vars(sys.modules[stack._sequence.__module__])
        assert hasattr(code["column_a"], "_torchdynamo_orig_callable") is flag
        assert stack.spec.compile_scaffolds is flag
        found[flag] = stack
    assert {n: p.shape for n, p in found[True].named_parameters()} == {
        n: p.shape for n, p in found[False].named_parameters()
    }
    eager = cortexc.stacks.build_cortex_auto_stack(WIDTH, pattern="A", num_layers=2, backend="eager", dtype=F64)
    eager.load_state_dict(found[False].state_dict())
    x = inputs(5, F64).cpu()
    assert torch.equal(found[False](x)[0], eager(x)[0])

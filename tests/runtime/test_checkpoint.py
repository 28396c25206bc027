"""Checkpoints: what is saved comes back to the bit, for every part and backend; what does not fit is refused whole."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tensordict import TensorDict
from torch import nn

import cortexc
from cortexc.cortex_dsl import AxonCoreConfig, PostUpScaffoldConfig, mLSTMCoreConfig, sLSTMCoreConfig
from cortexc.runtime import CompiledStack, CortexCheckpointError, CortexStateError, checkpoint_file
from cortexc.runtime.spec_diff import spec_differences

from ..tolerances import assert_close
from .contract import DEVICE, PATTERNS, ROWS, WIDTH, inputs, leaves
from .custom_parts import CountingConfig

F32, F64 = torch.float32, torch.float64
SAVED: dict[str, object] = {
    **PATTERNS,
    "carets": "X^(mem_len=5) M^(chunk_size=4) S^",
    "others": "L(num_layers=2, proj_size=6) C Ag A(use_fullrank_rtu=true)",
    "no parameters": "C(kernel_size=0) with post_norm=false",
    "core alone": mLSTMCoreConfig(hidden_size=WIDTH, chunk_size=4),
    "scaffold alone": PostUpScaffoldConfig(core=sLSTMCoreConfig()),
    "core of another width": AxonCoreConfig(hidden_size=WIDTH, out_dim=5),
    "a part of the user's": PostUpScaffoldConfig(core=CountingConfig()),  # with a counter and a flag in its state
}


def make(pattern: object = "AXMS", backend: str = "eager", dtype: torch.dtype = F64, seed: int = 0) -> CompiledStack:
    torch.manual_seed(seed)
    return cortexc.compile(pattern, d_hidden=WIDTH, backend=backend, dtype=dtype, device=DEVICE)  # type: ignore[arg-type]


def loaded(path: Path, **options: Any) -> tuple[CompiledStack, TensorDict | None]:
    """The stack and the state of a file, compiled from the spec that it holds."""
    return cortexc.load_checkpoint(path, backend="eager", device=DEVICE, **options)


def same(one: CompiledStack, two: CompiledStack) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stack.safetensors"


# -- there and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAVED)
def test_a_rollout_goes_on_as_if_nothing_had_happened(name: str, path: Path) -> None:
    """Weights, buffers and state of every part: the rest of the sequence is the same to the bit."""
    stack = make(SAVED[name])
    x = inputs(9, F64)
    _, state = stack(x[:, :6])
    expected, after = stack(x[:, 6:], state)
    assert cortexc.save_checkpoint(path, stack, state) == path
    other, carried = loaded(path)
    assert same(stack, other) and other.spec == stack.spec and other.pattern == stack.pattern
    assert carried is not None and carried.batch_size == torch.Size([ROWS])
    y, ended = other(x[:, 6:], carried)
    assert torch.equal(y, expected)
    assert all(torch.equal(a, b) for a, b in zip(leaves(ended).values(), leaves(after).values(), strict=True))


def test_routed_adapters_are_weights_like_others(path: Path) -> None:
    stack = make("AS with adapter_num_slots=3 adapter_rank=2")
    with torch.no_grad():
        for p in stack.parameters():
            p.add_(0.1 * torch.randn_like(p))
    cortexc.save_checkpoint(path, stack)
    assert "layers.0.experts.0.gate1.Wr.adapter.down" in safetensors.torch.load_file(path)
    x, routes = inputs(4, F64), torch.tensor([2, 0, 1], device=DEVICE)
    assert torch.equal(loaded(path)[0](x, route_ids=routes)[0], stack(x, route_ids=routes)[0])
    with pytest.raises(CortexCheckpointError, match="routed_adapter: routed_adapter in the file, None in the stack"):
        cortexc.load_checkpoint(path, make("AS"))


@pytest.mark.parametrize("dtype", [F32, F64, torch.bfloat16, torch.float16], ids=str)
def test_every_dtype(dtype: torch.dtype, path: Path) -> None:
    """Of the weights, and of the accumulators and counters that are wider or whole."""
    stack = make(PATTERNS["AXMS"], dtype=dtype)
    _, state = stack(inputs(4, dtype))
    cortexc.save_checkpoint(path, stack, state)
    other, carried = loaded(path)
    assert same(stack, other) and carried is not None
    found, expected = leaves(carried), leaves(state)
    assert {k: v.dtype for k, v in found.items()} == {k: v.dtype for k, v in expected.items()}
    assert all(torch.equal(found[k], expected[k]) for k in expected)
    assert not any(v.requires_grad for v in found.values())


def test_names_are_those_of_the_state_dict_whatever_the_backend(path: Path) -> None:
    """A file of one backend fills a stack of any other, after a cast too."""
    source = make(PATTERNS["AXMS"], "reference").float().double()
    cortexc.save_checkpoint(path, source)
    assert list(safetensors.torch.load_file(path)) == sorted(source.state_dict())
    expected, _ = source(inputs(5, F64))
    for backend in ("eager", "inductor", "triton", "auto"):
        stack, state = cortexc.load_checkpoint(path, make(PATTERNS["AXMS"], backend, seed=3))
        assert state is None and same(stack, source)
    assert_close(loaded(path)[0](inputs(5, F64))[0], expected)


def test_loading_in_place_keeps_packs_parameters_and_optimizer(path: Path) -> None:
    source, stack = make(), make(seed=3)
    cortexc.save_checkpoint(path, source)
    before = {n: (id(p), p.data_ptr()) for n, p in stack.named_parameters()}
    assert len({p.untyped_storage().data_ptr() for p in stack.parameters()}) < len(before)  # some are packed
    optimizer = torch.optim.SGD(stack.parameters(), lr=0.1)
    assert cortexc.load_checkpoint(path, stack)[0] is stack
    assert same(stack, source) and {n: (id(p), p.data_ptr()) for n, p in stack.named_parameters()} == before
    stack(inputs(3, F64))[0].square().sum().backward()
    optimizer.step()
    assert not same(stack, source)


def test_dtype_and_rng_of_a_load(path: Path) -> None:
    """Another dtype on request, the accumulators with it; no random number is drawn from the caller's generator."""
    stack = make(PATTERNS["AXMS"])
    _, state = stack(inputs(4, F64))
    cortexc.save_checkpoint(path, stack, state)
    before = torch.get_rng_state()
    narrow, carried = loaded(path, dtype="bfloat16")
    assert torch.equal(torch.get_rng_state(), before)
    assert narrow.dtype == torch.bfloat16
    y, _ = narrow(inputs(2, torch.bfloat16), carried)
    assert y.dtype == torch.bfloat16
    assert (
        carried is not None
        and leaves(carried)["ColumnScaffold_0/expert_PostUpGatedScaffold_0/AxonCore/hc1"].dtype == F32
    )
    with pytest.raises(TypeError, match="device and dtype are for a stack still to be made"):
        cortexc.load_checkpoint(path, stack, dtype=F32)


def test_tied_layers_are_saved_under_both_names(path: Path) -> None:
    stack = make("A x2")
    stack.layers[1] = stack.layers[0]
    cortexc.save_checkpoint(path, stack)
    other, _ = loaded(path)
    assert same(stack, other)
    assert len(list(other.parameters())) == 2 * len(list(stack.layers[0].parameters())) + 2


def test_the_compiled_wrapper_is_seen_through(path: Path) -> None:
    stack = make("A")
    cortexc.save_checkpoint(path, torch.compile(stack))  # type: ignore[arg-type]
    assert same(cortexc.load_checkpoint(path, torch.compile(make("A", seed=3)))[0], stack)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"got a Sequential; give the stack inside it"):
        cortexc.save_checkpoint(path, nn.Sequential(stack))  # type: ignore[arg-type]


def test_what_a_file_says_of_itself(path: Path) -> None:
    stack = make("AM x2")
    cortexc.save_checkpoint(path, stack, stack.init_state(7), extra={"step": "1200", "note": "größer"})
    info = cortexc.checkpoint_info(path)
    assert (info.pattern, info.part, info.dtype, info.rows) == ("AM x2", "stack", "float64", 7)
    assert (info.format, info.torch) == (1, torch.__version__)
    assert info.extra == {"step": "1200", "note": "größer"}
    assert info.spec == json.loads(stack.spec.model_dump_json())
    with pytest.raises(TypeError, match=r"extra\['step'\] is a int; keys and values are text"):
        cortexc.save_checkpoint(path, stack, extra={"step": 3})  # type: ignore[dict-item]
    assert cortexc.checkpoint_info(path) == info  # the refused call wrote nothing


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example and the message of ``docs/checkpoints.md``."""
    page = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORTEXC_DISABLE_TRITON", "1")  # its interpreter would take a minute
    exec(page.split("```python\n")[1].split("```")[0], {})
    assert cortexc.checkpoint_info("run.safetensors").extra == {"step": "1200"}
    cortexc.save_checkpoint("run.safetensors", make("AX x2"))
    with pytest.raises(CortexCheckpointError) as caught:
        cortexc.load_checkpoint("run.safetensors", make("AX(mem_len=64) x2"))
    assert str(caught.value) == page.split("```text\n")[1].split("\n```")[0]


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    problem: BaseException, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cortexc.save_checkpoint(path, make("A"))
    before = path.read_bytes()

    def write(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half of a fil")
        raise problem

    monkeypatch.setattr(checkpoint_file, "save_file", write)
    with pytest.raises(type(problem)):
        cortexc.save_checkpoint(path, make("A", seed=3))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_permissions_are_those_of_any_new_file(path: Path) -> None:
    old = os.umask(0o027)
    try:
        cortexc.save_checkpoint(path, make("A"))
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    stack = make("A")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        cortexc.save_checkpoint(tmp_path / "nowhere" / "a.safetensors", stack)
    with pytest.raises(OSError, match=r"directory"):
        cortexc.save_checkpoint(tmp_path, stack)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_saved(path: Path) -> None:
    stack = make("A")
    _, foreign = make("L")(inputs(2, F64))
    with pytest.raises(CortexStateError, match="belongs to another stack"):
        cortexc.save_checkpoint(path, stack, foreign)
    with pytest.raises(CortexStateError, match="state is a dict"):
        cortexc.save_checkpoint(path, stack, stack.init_state(2).to_dict())
    with pytest.raises(CortexCheckpointError, match=r"norm1\.weight is on the meta device .* stack\.to_empty"):
        cortexc.save_checkpoint(path, make("A").to("meta"))
    assert not path.exists()


# -- reading -----------------------------------------------------------------------------------------------------------


def _relabelled(path: Path, change: Callable[[dict], object]) -> None:
    """The file with another text in its metadata; tensors stay as they are."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header["__metadata__"]["cortexc"])
    header["__metadata__"]["cortexc"] = json.dumps(change(about) or about)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut in its tensors": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "is cut off: the file is shorter"),
    "cut in its header": (lambda p: p.write_bytes(p.read_bytes()[:300]), "is not a checkpoint: .*header"),
    "empty": (lambda p: p.write_bytes(b""), "is cut off"),
    "a text": (lambda p: p.write_text("AXMS x4 with d_hidden=256\n"), "is not a checkpoint"),
    "of torch.save": (lambda p: torch.save({"a": torch.ones(1)}, p), "never unpickles; save with cortexc.save_checkp"),
    "foreign": (
        lambda p: safetensors.torch.save_file({"a": torch.ones(1)}, p),
        r"a safetensors file that cortexc did not write; .* stack\.load_state_dict",
    ),
    "newer": (
        lambda p: _relabelled(p, lambda d: d.update(format=2, cortexc="9.0")),
        r"has format 2 \(cortexc 9\.0\), this version \(.*\) reads up to 1; upgrade",
    ),
    "without a spec": (lambda p: _relabelled(p, lambda d: d.pop("spec") and d), r"is damaged: .*KeyError\('spec'\)"),
    "of an unknown part": (
        lambda p: _relabelled(p, lambda d: d["spec"]["scaffolds"][0].update(kind="mine")),
        "import that part first.*\n.*\n.*unknown kind 'mine'",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_are_no_checkpoint(damage: str, path: Path) -> None:
    change, message = DAMAGES[damage]
    cortexc.save_checkpoint(path, make("A"))
    change(path)
    with pytest.raises(CortexCheckpointError, match=message) as caught:
        cortexc.load_checkpoint(path)
    assert str(path) in str(caught.value)


def test_a_folder_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(CortexCheckpointError, match=r"is a folder; .* cortexc\.load"):
        cortexc.load_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        cortexc.load_checkpoint(tmp_path / "missing")


def test_another_spec_is_refused_with_what_differs(path: Path) -> None:
    cortexc.save_checkpoint(path, make("AX(mem_len=5) x2"))
    stack = make("AX(mem_len=7) x2 with post_norm=false", seed=3)
    with pytest.raises(CortexCheckpointError) as caught:
        cortexc.load_checkpoint(path, stack)
    assert str(caught.value).splitlines() == [
        f"{path} holds 'AX(mem_len=5) x2', which is not the spec of this stack ({stack.pattern!r}):",
        "  scaffolds[0].experts[1].core.mem_len: 5 in the file, 7 in the stack",
        "  scaffolds[1].experts[1].core.mem_len: 5 in the file, 7 in the stack",
        "  post_norm: True in the file, False in the stack",
        "load it without a stack to compile the spec of the file, or compile a stack of the same spec",
    ]
    assert same(stack, make("AX(mem_len=7) x2 with post_norm=false", seed=3))


def test_a_hint_of_the_spec_is_no_difference(path: Path) -> None:
    source = make("M(chunk_size=4)")
    cortexc.save_checkpoint(path, source)
    stack, _ = cortexc.load_checkpoint(path, make("M(chunk_size=16)", seed=3))
    assert_close(stack(inputs(9, F64))[0], source(inputs(9, F64))[0])


def test_a_part_is_not_a_stack(path: Path) -> None:
    cortexc.save_checkpoint(path, make(AxonCoreConfig(hidden_size=WIDTH)))
    with pytest.raises(CortexCheckpointError, match="it is a core by itself; the stack was compiled from a stack"):
        cortexc.load_checkpoint(path, make("A"))


def test_a_changed_stack_is_refused_by_name_and_left_alone(path: Path) -> None:
    """Replaced and parametrised weights: shapes and names are checked before the first number is written."""
    cortexc.save_checkpoint(path, make("A"))
    stack = make("A", seed=3)
    gate = stack.layers[0].experts[0].gate1
    gate.Wr.weight = nn.Parameter(torch.zeros(3, WIDTH, dtype=F64))
    nn.utils.parametrizations.weight_norm(gate.Ur, "weight")
    before = {k: v.clone() for k, v in stack.state_dict().items()}
    with pytest.raises(CortexCheckpointError) as caught:
        cortexc.load_checkpoint(path, stack)
    text, at = str(caught.value), "layers.0.experts.0.gate1"
    assert f"{at}.Wr.weight has shape [{WIDTH}, {WIDTH}] in the file, [3, {WIDTH}] in the stack" in text
    assert f"missing {at}.Ur.parametrizations.weight.original0" in text
    assert f"surplus {at}.Ur.weight [{WIDTH}, {WIDTH}]" in text
    assert all(torch.equal(v, before[k]) for k, v in stack.state_dict().items())


def test_differences_of_specs_are_few_and_stop_at_another_kind() -> None:
    long = json.loads(make("A x12").spec.model_dump_json())
    other = json.loads(make("L x13").spec.model_dump_json())
    lines = spec_differences(long, other)
    assert lines[:2] == [
        "scaffolds: 12 of them in the file, 13 in the stack",
        "scaffolds[0].experts[0]: postup_gated in the file, passthrough in the stack",
    ]
    assert len(lines) == 11 and lines[-1] == "… and 3 more"
    assert spec_differences(long, long) == []

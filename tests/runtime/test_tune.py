"""`cortexc.tune`, and the files that its choices are kept in."""

from __future__ import annotations

import json
import math
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cortexc
from cortexc import cache
from cortexc.kernels import warnings as ours
from cortexc.kernels.recurrence import search, tuning
from cortexc.kernels.recurrence.choices import Channels, Choice, Head, Heads, Key, Split, values_of
from cortexc.runtime import CortexWarning, tuned

from ..tolerances import assert_close
from .routed import OPTIONS

run = sys.modules["cortexc.runtime.tune"]  # the module: its function has the same name in the package
GPU = "Test 9000 / PCIe"
KEYS = {
    "head": Key("slstm", "0123456789ab", "head", "backward", "half", 16, 256, 4, 64, False),
    "split": Key("lstm", "0123456789ab", "split", "forward", "exact", 16, 256, 1, 512, False),
    "channels": Key("axon", "0123456789ab", "channels", "forward", "exact", 1, 4096, 1, 37, False),
    "heads": Key("agalite_r2", "0123456789ab", "heads", "backward", "half", 8, 4096, 8, 128, False, 6),
}
CHOICES = {"head": Head(8), "split": Split(32, 8, 2, 0, 128, 1), "channels": Channels(32, 64), "heads": Heads(64, 2)}
BUILT_IN = {"head": Head(4), "split": Split(), "channels": Channels(64, 16), "heads": Heads(32, 1)}


def found(schedule: str, *, better: bool = True) -> search.Found:
    choice = CHOICES[schedule] if better else BUILT_IN[schedule]
    return search.Found(KEYS[schedule], BUILT_IN[schedule], choice, 1.0, 0.5 if better else 1.0, 3)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and ears that have heard nothing."""
    monkeypatch.setenv("CORTEXC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CORTEXC_TUNING", raising=False)
    monkeypatch.setattr(ours, "_SAID", set())
    return tmp_path / "cache"


# -- the file --------------------------------------------------------------------------------------------------------


def test_round_trip(folder: Path) -> None:
    assert tuned.read(GPU) == {}
    path = tuned.keep(GPU, map(found, KEYS))
    assert tuned.read(GPU) == {KEYS[s]: CHOICES[s] for s in KEYS}
    assert path.parent == folder / "tuning" and path.name.startswith("Test-9000-PCIe-triton-")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert json.loads(path.read_text())["entries"][0]["kernel"] == "slstm [16,256,4x64] half backward"


def test_an_older_table_is_read() -> None:
    """Keys had no number of features."""
    path = tuned.keep(GPU, map(found, ("head", "heads")))
    document = json.loads(path.read_text())
    for entry in document["entries"]:
        if entry["key"]["schedule"] == "head":
            del entry["key"]["features"]
    path.write_text(json.dumps(document))
    assert tuned.read(GPU) == {KEYS[s]: CHOICES[s] for s in ("head", "heads")}


def test_tables_grow_and_forget() -> None:
    """Each search speaks for its kernels alone, and a choice that is not better any more goes."""
    tuned.keep(GPU, [found("head"), found("split")])
    tuned.keep(GPU, [found("channels"), found("split", better=False)])
    assert tuned.read(GPU) == {KEYS[s]: CHOICES[s] for s in ("head", "channels")}
    assert tuned.read("another GPU") == {}


def test_a_running_process_sees_new_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "device_name", lambda device: GPU)
    tuning.forget()
    cpu = torch.device("cpu")
    assert tuning.table(cpu) == {}
    tuned.keep(GPU, [found("head")])
    assert tuning.table(cpu) == {KEYS["head"]: Head(8)}
    tuning.forget()


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    tuned.keep(GPU, [found("head")])
    monkeypatch.setenv("CORTEXC_TUNING", "0")
    assert tuned.read(GPU) == {}


def damaged(path: Path, **changes: object) -> None:
    document = json.loads(path.read_text())
    for key, value in changes.items():
        part = document["entries"][0][key] if key in ("key", "choice") else None
        if isinstance(part, dict) and isinstance(value, dict):
            part.update(value)
        elif key in ("key", "choice"):
            document["entries"][0][key] = value
        else:
            document[key] = value
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tool": "other"}, "it was not written by cortexc"),
        ({"format": 2}, "its format is 2, this version reads 1"),
        ({"device": "H100"}, "it is for H100 and Triton"),
        ({"entries": 5}, "it is not whole"),
        ({"choice": {"warps": 3}}, "warps is 3, which no head kernel can be launched with"),
        ({"choice": {"warps": True}}, "warps is True"),
        ({"choice": {"blocks": 3}}, "a choice for head has warps, got blocks, warps"),
        ({"choice": [4]}, "a choice is .4., expected its values by name"),
        ({"key": {"rows": "16"}}, "rows of a key is '16', expected int"),
        ({"key": {"schedule": "magic"}}, "the schedule is 'magic', expected one of channels, head, split, heads"),
        ({"key": {"features": 2.0}}, "features of a key is 2.0, expected int"),
        ({"key": {"depth": 2}}, "a key has name, .* features, got"),
        ({"key": None}, "a key has name, digest, .* got None"),
    ],
    ids=str,
)
def test_a_damaged_table_is_ignored_aloud_once(changes: dict, reason: str) -> None:
    path = tuned.keep(GPU, [found("head")])
    damaged(path, **changes)
    with pytest.warns(
        CortexWarning, match=rf"W302 the table of tuned kernels .*{reason}.*cortexc tune PATTERN"
    ) as said:
        assert tuned.read(GPU) == {} == tuned.read(GPU)
    assert len(said) == 1
    tuned.keep(GPU, [found("split")])
    assert tuned.read(GPU) == {KEYS["split"]: CHOICES["split"]}


@pytest.mark.parametrize(("name", "value"), [("chunk", 0), ("chunk", 64.0), ("warps", 3)])
def test_a_damaged_choice_of_heads(name: str, value: float) -> None:
    damaged(tuned.keep(GPU, [found("heads")]), choice={name: value})
    with pytest.warns(CortexWarning, match=f"W302 .*{name} is {value}, which no heads kernel can be launched with"):
        assert tuned.read(GPU) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", "[" * 100_000])
def test_no_table_at_all(text: str) -> None:
    path = tuned.keep(GPU, [found("head")])
    path.write_text(text)
    with pytest.warns(CortexWarning, match="W302"):
        assert tuned.read(GPU) == {}


def test_a_failure_leaves_the_table_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    path = tuned.keep(GPU, [found("head")])

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(cache.json, "dumps", full)
        with pytest.raises(OSError, match="disk full"):
            tuned.keep(GPU, [found("split")])
    assert tuned.read(GPU) == {KEYS["head"]: Head(8)}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# -- tune ------------------------------------------------------------------------------------------------------------


@pytest.mark.interpreter
def test_nothing_to_tune_without_a_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    done = cortexc.tune("S", d_hidden=16, device="cpu", progress=lines.append)
    assert done.note.startswith("nothing to tune: there is no GPU here") and not lines and not done.found
    done = cortexc.tune("X", d_hidden=16, batch=2, seq_len=4, device="cpu", dry_run=True, progress=lines.append)
    assert done.note == "nothing to tune: no kernel of a recurrence runs in 'X' (see cortexc show)"
    monkeypatch.setenv("CORTEXC_DISABLE_TRITON", "1")
    assert cortexc.tune("S", d_hidden=16, dry_run=True).note.startswith("nothing to tune: Triton is switched off")
    assert not (folder / "tuning").exists()


@pytest.mark.interpreter
def test_dry_run() -> None:
    lines: list[str] = []
    stack = cortexc.compile("AS / S", d_hidden=16, backend="triton")
    done = cortexc.tune(stack, batch=3, seq_len=5, dry_run=True, progress=lines.append)
    assert {(k.name, k.direction, k.rows, k.length, k.heads, k.width) for k in done.kernels} == {
        (name, direction, 4, 8, heads, width)
        for direction in ("forward", "backward")
        for name, heads, width in (("axon", 1, 16), ("slstm", 4, 4))
    }
    assert "slstm [4,8,4x4] exact backward  warps 2; warps 4" in lines and len(lines) == 4
    assert done.note == "4 kernels, 40 s at most; nothing measured" and done.path is None


@pytest.mark.interpreter
def test_dry_run_of_heads() -> None:
    """AGaLiTe, whose kernels have chunks of time and warps to choose."""
    lines: list[str] = []
    stack = cortexc.compile("Ag(n_heads=1)", d_hidden=64, backend="triton")
    done = cortexc.tune(stack, batch=1, seq_len=9, dry_run=True, progress=lines.append)
    assert [k[2:] for k in done.kernels] == [
        ("heads", direction, "exact", 1, 16, 1, 64, False, 6) for direction in ("forward", "backward")
    ]
    assert lines[1] == "agalite_r2 [1,16,1x64x6] exact backward  chunk 16; warps 2; warps 4"


@pytest.mark.interpreter
def test_observing_leaves_no_trace() -> None:
    """No gradient of a parameter; a stack with routed adapters is given routes."""
    for pattern, count in (("S", 2), (f"A{OPTIONS}", 2)):
        stack = cortexc.compile(pattern, d_hidden=16, backend="triton")
        assert len(run.observe(stack, 2, 3)) == count
        assert all(p.grad is None for p in stack.parameters())


@pytest.mark.interpreter
def test_what_was_found_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU that is made up: a line a kernel, a file, stale graphs, and what was found before an interrupt."""
    lines: list[str] = []
    monkeypatch.setattr(run, "_nothing", lambda device, dry_run: "")
    monkeypatch.setattr(run, "device_name", lambda device: GPU)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    stack = cortexc.compile("S", d_hidden=16, backend="triton")

    def given(key: Key, call: tuning.Call, seconds: float) -> search.Found:
        if key.direction == "backward" and stop:
            raise KeyboardInterrupt
        return search.Found(key, Head(4), Head(8), 1.02, 0.94, 3)

    monkeypatch.setattr(run, "search", given)
    for stop, count in ((True, 1), (False, 2)):
        lines.clear()
        epoch = stack.epoch
        try:
            done = cortexc.tune(stack, batch=2, seq_len=3, progress=lines.append)
            assert done.path is not None and done.note == f"2 of 2 kernels faster than built in: {done.path}"
        except KeyboardInterrupt:
            assert stop
        assert lines[0] == "slstm [2,4,4x4] exact forward  1.02 -> 0.94 ms  warps 8"
        assert len(lines) == count == len(tuned.read(GPU)) and stack.epoch == epoch + 1


@pytest.mark.gpu
@pytest.mark.parametrize("pattern", ["S", "A", "L", "Ag"])
def test_on_a_gpu(pattern: str) -> None:
    """A few seconds of measuring, and the same numbers under what was found and under a choice that is forced."""
    torch.manual_seed(0)
    stack = cortexc.compile(pattern, d_hidden=128, dtype=torch.bfloat16, device="cuda")
    x = torch.randn(8, 64, 128, dtype=torch.bfloat16, device="cuda")

    def results() -> list[torch.Tensor]:
        given = x.clone().requires_grad_()
        y, _ = stack(given)
        leaves = [given, *stack.parameters()]
        return [y.detach(), *torch.autograd.grad(y, leaves, torch.ones_like(y), materialize_grads=True)]

    tuning.forget()
    before = results()
    lines: list[str] = []
    done = cortexc.tune(stack, batch=8, seq_len=64, seconds=3.0, progress=lines.append)
    assert len(done.found) == len(done.kernels) == len(lines) >= 2
    assert all(math.isfinite(f.after) and 0 < f.after <= f.before and f.tried > 1 for f in done.found)
    name = torch.cuda.get_device_name()
    assert tuned.read(name) == {f.key: f.choice for f in done.found if f.better}
    other = [_other(f) for f in done.found]
    for kept in (None, other):
        if kept:
            tuned.keep(name, kept)
            assert {k: values_of(c) for k, c in tuning.table(x.device).items()} == {
                f.key: values_of(f.choice) for f in other
            }
            stack.epoch += 1
        for a, b in zip(results(), before, strict=True):
            assert_close(a, b, torch.bfloat16)
    tuning.forget()


def _other(f: search.Found) -> search.Found:
    """Anything but the built-in choice."""
    start = f.built_in
    if isinstance(start, Head):
        choice: Choice = Head(2)
    elif isinstance(start, Channels):
        choice = Channels(32, 32)
    elif isinstance(start, Heads):
        choice = Heads(32 if start.chunk == 16 else 16, 2)
    else:
        choice = replace(start, warps=8 if start.warps == 4 else 4)
    return search.Found(f.key, start, choice, 1.0, 0.5, 1)

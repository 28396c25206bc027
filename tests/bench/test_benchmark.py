"""The timer itself: what it counts, what it compares, what it does with a contender that fails."""

import time
import warnings

import pytest
import torch
from torch import Tensor, nn

from cortexc.benchmark import Work, clock, compare, save
from cortexc.runtime import CortexWarning

WORK = Work("fake", d_hidden=4, batch=2, seq_len=6, dtype="float32", device="cpu")


class Fake(nn.Module):
    """A module with the contract of a stack: y = w x, the state counts steps."""

    def __init__(self, scale: float = 1.0, delay: float = 0.0) -> None:
        super().__init__()
        self.w, self.scale, self.delay = nn.Parameter(torch.randn(4)), scale, delay

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        time.sleep(self.delay)
        return self.scale * self.w * x, torch.ones(x.shape[0])

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        assert x.shape == (2, 4)
        assert state.shape == (2,)
        return self(x, state)


def test_clock_counts_calls_and_time():
    calls = []
    times = clock(lambda: (calls.append(1), time.sleep(0.01)), "cpu", warmup=2, rounds=5)
    assert len(calls) == 7
    assert len(times) == 5
    assert all(10 <= ms < 1000 for ms in times)


def test_clock_stops_when_time_is_over():
    assert len(clock(lambda: time.sleep(0.05), "cpu", warmup=1, rounds=1000, seconds=0.2)) < 10


def test_contenders_get_the_weights_of_the_first():
    first, second = compare([("a", Fake), ("b", Fake)], WORK, rounds=2)
    assert first.relative_error is None
    assert second.relative_error == 0.0
    assert [t.mode for t in second.timings] == ["forward", "forward+backward", "step"]


@pytest.mark.parametrize("scale", [1.001, float("nan")])
def test_wrong_numbers_show(scale):
    _, second = compare([("a", Fake), ("b", lambda: Fake(scale))], WORK, rounds=2)
    assert not second.relative_error <= WORK.tolerance


def test_peers_keep_their_own_weights():
    _, second = compare([("a", Fake), ("b", Fake)], WORK, rounds=2, same_weights=False)
    assert second.relative_error is None


def test_a_failure_is_told_and_the_rest_goes_on():
    def broken() -> nn.Module:
        raise RuntimeError("no such kernel\nlong story")

    first, second = compare([("a", broken), ("b", Fake)], WORK, rounds=2)
    assert first.error == "no such kernel"
    assert second.error == ""
    assert len(second.timings) == 3


def test_the_slow_one_is_slower():
    fast, slow = compare([("a", Fake), ("b", lambda: Fake(delay=0.02))], WORK, modes=("forward",), rounds=3)
    assert slow.timings[0].median_ms > fast.timings[0].median_ms
    assert slow.timings[0].median_ms >= 20


def test_a_fallback_is_noted():
    def fallen() -> nn.Module:
        warnings.warn("W402 no GPU", CortexWarning, stacklevel=1)
        return Fake()

    (only,) = compare([("a", fallen)], WORK, rounds=2)
    assert only.notes == ("W402 no GPU",)


def test_save_is_whole(tmp_path):
    path = save({"a": 1}, tmp_path / "deep/result.json")
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]
    with pytest.raises(TypeError):
        save({"a": object()}, path)
    assert path.read_text() == '{\n  "a": 1\n}\n'

"""The example's data are what it says, and the whole program runs in small."""

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[2] / "examples/byte_lm.py"


@pytest.fixture(scope="module")
def byte_lm():
    spec = importlib.util.spec_from_file_location("byte_lm_example", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_split_is_fixed_and_disjoint(byte_lm):
    training, held_out = byte_lm.split_topics(0, 8)
    assert (training, held_out) == byte_lm.split_topics(0, 8)
    assert len(held_out) == 8
    assert len(training) > 50
    shared = [
        (one[:30], other[:30])
        for one, other in itertools.product(held_out, training)
        if byte_lm.paragraphs(one.decode()) & byte_lm.paragraphs(other.decode())
    ]
    assert shared == []
    assert held_out != byte_lm.split_topics(1, 8)[1]


def test_no_topic_contains_the_edge(byte_lm):
    assert all(byte_lm.EDGE not in text for text in itertools.chain(*byte_lm.split_topics(0, 8)))


def test_streams_are_episodes(byte_lm):
    texts = [b"one", b"three", b"eleven"]
    streams = byte_lm.Streams(texts, batch=2, seed=0, device=torch.device("cpu"))
    chunks = [streams.chunk(5) for _ in range(4)]
    for row in range(2):
        inputs, targets, resets = (
            torch.cat([getattr(c, name)[row] for c in chunks]).tolist() for name in ("inputs", "targets", "resets")
        )
        assert resets[0] is True
        assert [byte == byte_lm.EDGE for byte in inputs] == resets
        # Inside an episode the next input is the target; every finished episode is one of the topics.
        for t in range(19):
            assert resets[t + 1] or inputs[t + 1] == targets[t]
        starts = [t for t, reset in enumerate(resets) if reset]
        for start, end in itertools.pairwise(starts):
            assert bytes(inputs[start + 1 : end]) in texts
            assert targets[end - 1] == byte_lm.EDGE


def test_runs_on_a_written_package(tmp_path):
    compiled = [
        sys.executable,
        "-m",
        "cortexc.cli",
        "compile",
        "AS",
        "--name=small",
        "--d-hidden=16",
        "--out",
        str(tmp_path),
    ]
    subprocess.run(compiled, check=True, capture_output=True, timeout=120)
    small = ["--steps", "12", "--batch", "4", "--chunk", "16", "--eval-chunks", "2", "--fused", "reference"]
    # As a user runs it: without the interpreter, which the other tests switch on.
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(PATH), "--package", str(tmp_path / "small"), "--device", "cpu", *small],
        capture_output=True,
        text=True,
        timeout=300,
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("before", "after", "bits per byte", "sample in step mode", "reference against eager"):
        assert word in done.stdout

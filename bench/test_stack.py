"""CPU benchmarks for `make bench`: the stack and each core, backend by backend, beside torch.nn.LSTM.

pytest-benchmark does the timing; `--benchmark-save` and `--benchmark-compare` hold one run against another.
"""

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import cortexc
from cortexc.benchmark import MODES, Mode, Work, prepared_call

from .peers import cortexcore, torch_lstm

# Small enough that a round takes well under a second on two cores.
STACK = Work("AXMS x4", d_hidden=64, batch=8, seq_len=64, dtype="float32", device="cpu")
CORES = ("A", "X", "M", "S")
BACKENDS = ("reference", "eager", "inductor", "auto")


def run(benchmark: Any, make: Callable[[], nn.Module], work: Work, mode: Mode) -> None:
    """Compiles outside the clock, then times the call."""
    call = prepared_call(make(), work.input(), mode)
    benchmark.extra_info.update(pattern=work.pattern, d_hidden=work.d_hidden, batch=work.batch, seq_len=work.seq_len)
    call()
    benchmark.pedantic(call, rounds=7, warmup_rounds=1)


def stack(work: Work, backend: str) -> Callable[[], nn.Module]:
    """A maker of our module."""
    return lambda: cortexc.compile(work.pattern, d_hidden=work.d_hidden, backend=backend)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_stack(benchmark: Any, backend: str, mode: Mode) -> None:
    benchmark.group = f"{STACK.pattern} {mode}"
    run(benchmark, stack(STACK, backend), STACK, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("core", CORES)
def test_core(benchmark: Any, core: str, backend: str, mode: Mode) -> None:
    work = Work(core, STACK.d_hidden, STACK.batch, STACK.seq_len, STACK.dtype, STACK.device)
    benchmark.group = f"{core} {mode}"
    run(benchmark, stack(work, backend), work, mode)


@pytest.mark.parametrize("mode", MODES)
def test_lstm(benchmark: Any, mode: Mode) -> None:
    benchmark.group = f"{STACK.pattern} {mode}"
    run(benchmark, torch_lstm(STACK), STACK, mode)


PEER = cortexcore(STACK)
if PEER is not None:  # never a dependency: the case exists only where cortexcore does

    @pytest.mark.parametrize("mode", MODES)
    def test_cortexcore(benchmark: Any, mode: Mode) -> None:
        benchmark.group = f"{STACK.pattern} {mode}"
        run(benchmark, PEER, STACK, mode)

"""The language: what a start costs, and what a large file costs. `make bench` runs it.

Processes are timed as a user meets them, from the shell's call to its return.
"""

import subprocess
import sys
from typing import Any

import pytest

from cortexc.cortex_dsl import format_spec, format_text, parse, parse_ast, resolve

# Lines as people write them: plain, with options, wrapped.
LINES = ("AXMS", "AM^S", "XXS", "A@preup(2.0) M", "X(mem_len=64) M(num_heads=8) S*2", "AXMS{top_k=2, temperature=0.7}")


@pytest.fixture(scope="module")
def thousand() -> str:
    """A file of a thousand different lines of layers."""
    return "\n".join(LINES[i % len(LINES)].replace("64", str(i + 1)) for i in range(1000))


@pytest.mark.parametrize("args", [["--help"], ["check", "AXMS x4"], ["fmt", "AXMS x4"], ["recipes"]], ids=" ".join)
def test_process(benchmark: Any, args: list[str]) -> None:
    """The aim is 0.4 s on two idle cores."""
    benchmark.group = "a process"
    command = [sys.executable, "-m", "cortexc.cli", *args]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=7, warmup_rounds=1)


@pytest.mark.parametrize("code", ["pass", "import pydantic.main, lark", "import cortexc.cortex_dsl"])
def test_import(benchmark: Any, code: str) -> None:
    """What of a start is Python's, the libraries', ours."""
    benchmark.group = "an import"
    command = [sys.executable, "-c", code]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=7, warmup_rounds=1)


def test_thousand_layers(benchmark: Any, thousand: str) -> None:
    """Parse and resolve; the aim is 0.3 s."""
    benchmark.group = "1,000 layers"
    spec = benchmark.pedantic(lambda: resolve(parse(thousand, d_hidden=256)), rounds=7, warmup_rounds=1)
    assert len(spec.scaffolds) == 1000


@pytest.mark.parametrize("what", ["parse_ast", "parse", "format_text", "format_spec"])
def test_thousand_layers_by_stage(benchmark: Any, thousand: str, what: str) -> None:
    """Where the time goes."""
    benchmark.group = "1,000 layers"
    spec = parse(thousand, d_hidden=256)
    call = {
        "parse_ast": lambda: parse_ast(thousand),
        "parse": lambda: parse(thousand, d_hidden=256),
        "format_text": lambda: format_text(thousand),
        "format_spec": lambda: format_spec(spec),
    }[what]
    benchmark.pedantic(call, rounds=7, warmup_rounds=1)


def test_one_line(benchmark: Any) -> None:
    """A pattern in a running program."""
    benchmark.group = "one line"
    benchmark(lambda: resolve(parse("AXMS x4", d_hidden=256)))

"""`show --stage kernels`: what is said of every recurrence above its code."""

import ast
import json
import time

import pytest
from typer.testing import CliRunner

from cortexc.cli.app import app


def show(*args):
    done = CliRunner().invoke(app, ["show", *args])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_recurrence_is_described_above_its_code():
    document = json.loads(show("AS / recurrence(cell=mingru)", "--stage", "kernels", "--d-hidden", "64", "--json"))
    texts = document["files"]
    assert {f"kernels/{n}.py" for n in ("axon", "slstm", "mingru")} <= set(texts)
    for name, part, proof, why in (
        ("axon", "A (expert 0) at 1:1", "affine in (c1, c2): s' = A s + b", "T runs in parallel"),
        ("slstm", "S (expert 1) at 1:2", "not affine in (y, c, n, m): R y inside sigmoid", "R of a head is 4 KiB"),
        ("mingru", "mingru (expert 0) at 1:6", "a = 1.0 - z, follows the inputs", "T runs in parallel"),
    ):
        text = texts[f"kernels/{name}.py"]
        ast.parse(text)
        head = text[: text.index('"""')]
        assert head.startswith(f"# recurrence {name}\n#\n# used by\n#   {part}\n#\n# equations\n")
        for wanted in (proof, why, "cost per token, 64 channels", "predicted, H100, 16 rows x 256 steps"):
            assert wanted in head
        assert "# measured" not in head


def test_each_size_once():
    """`M^` runs Axon layers of two widths; equal layers are one use."""
    text = show("M^ x3", "--stage", "kernels", "--d-hidden", "32")
    assert text.count("# recurrence axon\n") == 2
    assert "cost per token, 64 channels" in text and "cost per token, 192 channels" in text


def test_dtype_and_heads_change_the_numbers():
    wide = show("S", "--stage", "kernels", "--d-hidden", "1024")
    assert "R of a head is 1024 KiB in 32 bits, one program takes less than 64" in wide
    assert "R of a head is 512 KiB in 16 bits" in show(
        "S", "--stage", "kernels", "--d-hidden", "1024", "--dtype", "bfloat16"
    )


def test_measure(piped):
    """Registers and shared memory come from a compiler run without a GPU, the time from this machine."""
    done = piped("show", "recurrence(cell=mingru)", "--stage", "kernels", "--d-hidden", "16", "--measure")
    assert done.code == 0, done.err
    lines = done.out[done.out.index("# measured") : done.out.index('"""mingru')].splitlines()
    compiled = [line for line in lines if "registers" in line]
    assert len(compiled) >= 4 and all("KiB shared" in line for line in compiled)
    assert all(int(line.split(" registers")[0].split()[-1]) in range(8, 256) for line in compiled)
    (ran,) = [line for line in lines if line.startswith("#   16 rows x 256 steps, float32: forward ")]
    assert "forward+backward" in ran


@pytest.mark.interpreter
def test_measure_without_a_compiler():
    """Under the interpreter nothing is compiled: that is said, and the time is still taken."""
    text = show("recurrence(cell=mingru)", "--stage", "kernels", "--d-hidden", "8", "--measure")
    assert "registers and shared memory: not to be had, TRITON_INTERPRET=1" in text


def test_measure_alone_is_refused():
    done = CliRunner().invoke(app, ["show", "A", "--measure"])
    assert done.exit_code == 1
    assert "--measure is about generated kernels" in done.output and "--stage kernels" in done.output


def test_a_recurrence_of_ones_own(piped, tmp_path):
    (tmp_path / "my_cells.py").write_text(
        "from cortexc.equations import State, recurrence, register_recurrence, tanh\n\n"
        '@recurrence(inputs="u", state="h", params="a", outputs="h")\n'
        "def mine(x, s, p):\n    return State(h=tanh(p.a * s.h + x.u))\n\n"
        'register_recurrence(mine, token="Q")\n'
    )
    (tmp_path / "own.cortex").write_text("import my_cells\nAQ x2\n")
    started = time.perf_counter()
    done = piped("show", "own.cortex", "--stage", "kernels", "--allow-import", PYTHONPATH=_path(tmp_path))
    assert done.code == 0, done.err
    assert "#   Q (expert 1) at " in done.out and "not affine in (h): h inside tanh" in done.out
    assert time.perf_counter() - started < 60
    refused = piped("show", "own.cortex", "--stage", "kernels", PYTHONPATH=_path(tmp_path))
    assert refused.code == 1 and "E404" in refused.err


def _path(folder):
    import os

    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])

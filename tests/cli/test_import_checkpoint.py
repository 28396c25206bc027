"""`cortexc import-checkpoint`: an old file in, a checkpoint out that loads; mistakes are told with what mends them."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import cortexc
from cortexc.cli.app import app

# The names and shapes of a cortexcore stack, as its published package has them.
NAMES = json.loads((Path(__file__).parents[1] / "data" / "cortexcore-0.1.6.json").read_text(encoding="utf-8"))


@pytest.fixture
def old(tmp_path):
    """A file of torch.save that holds a state_dict of pattern "L", width 64, inside a larger model."""
    torch.save({f"net.{name}": torch.randn(shape) for name, shape in NAMES["L"].items()}, tmp_path / "old.pt")
    return tmp_path / "old.pt"


def test_a_file_becomes_a_checkpoint(old, piped):
    done = piped("import-checkpoint", "old.pt", "--pattern", "L", "--prefix", "net.", "-o", "new.safetensors")
    assert done.code == 0, done.err
    assert "pattern  L@passthrough(residual=false) with d_hidden=64" in done.out
    assert "target   d_hidden 64, float32, 33,408 parameters" in done.out
    assert "note     PassThrough: cortexcore has no residual here" in done.out
    stack, state = cortexc.load_checkpoint(old.parent / "new.safetensors", backend="eager")
    assert state is None
    assert torch.equal(stack.norm.weight, torch.load(old)["net.norm.weight"])
    assert stack.layers[0].experts[0].core.weight_hh_l0.shape == (256, 64)


def test_as_json(old):
    new = str(old.with_name("new.safetensors"))
    args = ("--pattern", "L", "--prefix", "net.", "--dtype", "float64", "-o", new, "--json")
    document = json.loads(CliRunner().invoke(app, ["import-checkpoint", str(old), *args]).stdout)
    assert document["schema"] == "cortexc.import-checkpoint/1"
    assert (document["d_hidden"], document["dtype"], document["params"]) == (64, "float64", 33408)
    assert (document["path"], len(document["notes"])) == (new, 1)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("old.pt", ("--pattern", "L"), "a stack lies under 'net.': pass prefix="),
        ("old.pt", ("--pattern", "L x2", "--prefix", "net."), "layers.1.experts.0.core.weight_ih_l0 [256, 64] gets no"),
        ("old.pt", ("--pattern", "LQ", "--prefix", "net."), "E201"),
        ("nowhere.pt", ("--pattern", "L"), "nowhere.pt: No such file or directory"),
        (
            "old.pt",
            ("--pattern", "L", "--prefix", "net.", "-o", "/nowhere/new.safetensors"),
            "there is no folder /nowhere",
        ),
    ],
)
def test_mistakes(name, args, message, old):
    out = ["-o", str(old.with_name("new.safetensors"))]
    done = CliRunner().invoke(app, ["import-checkpoint", str(old.with_name(name)), *out, *args])
    assert done.exit_code == 1
    assert message in done.stderr
    assert [p.name for p in old.parent.iterdir()] == ["old.pt"]

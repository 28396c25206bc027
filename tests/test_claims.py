"""What the seed documents claim, as a user would try it: one word changes the memory, one column stands where a core
stood, deep stacks train, a recipe goes from a builder to a package. Covers U1, U13, B11, Z6, Q1, Q2, Q4."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cortexc
from cortexc.config import (
    AxonCoreConfig,
    CortexStackConfig,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpScaffoldConfig,
    mLSTMCoreConfig,
    sLSTMCoreConfig,
)
from cortexc.cortex_dsl import AxonCellConfig, format_spec, parse, sLSTMCellConfig
from cortexc.stacks import build_cortex

WIDTH, DELAY = 16, 6


@pytest.fixture(autouse=True)
def on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about kernels."""
    monkeypatch.setenv("CORTEXC_DISABLE_TRITON", "1")


# -- the memory is one argument of the program -------------------------------------------------------------------------


class Policy(nn.Module):
    """Any memory between an encoder and a head; it knows of none in particular."""

    def __init__(self, memory: nn.Module) -> None:
        super().__init__()
        self.encode, self.memory, self.head = nn.Linear(3, WIDTH), memory, nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor, state: Any = None, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        h, state = self.memory(torch.tanh(self.encode(x)), state, resets=resets)
        return self.head(h), state


def episode(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """A bit at the first step, asked for ``DELAY`` steps later, with noise between."""
    draw = torch.Generator().manual_seed(seed)
    bit = torch.randint(0, 2, (rows,), generator=draw)
    x = torch.zeros(rows, DELAY + 1, 3)
    x[:, 0, 0], x[:, -1, 1] = 2.0 * bit - 1.0, 1.0
    x[:, 1:-1, 2] = torch.randn(rows, DELAY - 1, generator=draw)
    return x, bit


MEMORIES: dict[str, Any] = {
    **{token: token for token in ("A", "X", "M", "S", "Ag", "L", "X^", "M^", "S^")},
    "core": LSTMCoreConfig(hidden_size=WIDTH),
    "scaffold": PreUpScaffoldConfig(core=AxonCoreConfig()),
    "cell": sLSTMCellConfig(),
    "column": parse("AXM{top_k=2}").scaffolds[0],
    "experts in depth": "AXMS{top_k=2} x2",
    "stack as a core": PassThroughScaffoldConfig(
        core=CortexStackConfig(scaffolds=(AxonCellConfig(), sLSTMCellConfig()))
    ),
}


@pytest.mark.parametrize("name", MEMORIES)
def test_the_memory_is_one_word_of_a_program(name: str) -> None:
    """Q1, Q2, U1, U13: the same program learns to remember with a core, a scaffold, a cell, a column, a stack, whatever
    is in it; it acts step by step as it was trained, and a reset begins a new episode."""
    torch.manual_seed(0)
    policy = Policy(cortexc.compile(MEMORIES[name], d_hidden=WIDTH))
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    for step in range(120):
        x, bit = episode(32, step)
        loss = nn.functional.cross_entropy(policy(x)[0][:, -1], bit)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.02:
            break
    x, bit = episode(128, 1000)
    with torch.no_grad():
        logits, _ = policy(x)
        assert (logits[:, -1].argmax(-1) == bit).float().mean() > 0.95
        state = None
        for t in range(x.shape[1]):
            y, state = policy(x[:, t], state)
        assert torch.allclose(y, logits[:, -1], atol=1e-4)
        again, _ = policy(x, state, torch.ones(len(x), dtype=torch.bool))
    assert torch.allclose(again, logits, atol=1e-4)


# -- depth -------------------------------------------------------------------------------------------------------------


def strength(pattern: str | CortexStackConfig) -> float:
    """How much larger the gradient of x is than that of y, at the start."""
    torch.manual_seed(0)
    stack = cortexc.compile(pattern, d_hidden=WIDTH, backend="eager", dtype=torch.float64)
    x = torch.randn(3, 32, WIDTH, dtype=torch.float64, requires_grad=True)
    y, _ = stack(x)
    seed = torch.randn_like(y)
    (g,) = torch.autograd.grad(y, x, seed)
    return (g.norm() / seed.norm()).item()


@pytest.mark.parametrize(
    "pattern",
    ["A x24", "M x24", "S x24", "X(mem_len=8) x24", "L x24", "AXMS x8", "M@preup x24", "S@postup x24", "M^ x12"],
)
def test_gradients_pass_through_depth(pattern: str) -> None:
    """Q4: skips, gates and norms: after two dozen layers a gradient neither vanishes nor explodes."""
    assert 0.1 < strength(pattern) < 100


def test_it_is_the_skips_that_do_it() -> None:
    """Q4: the same layers without them lose it; and an adapter, which starts as the identity, changes nothing."""
    bare = PassThroughScaffoldConfig(core=LSTMCoreConfig(), residual=False)
    assert strength(CortexStackConfig(d_hidden=WIDTH, scaffolds=(bare,) * 24, post_norm=False)) < 1e-3
    plain, adapted = (cortexc.compile(pattern, d_hidden=WIDTH) for pattern in ("L x4", "L@adapter x4"))
    weights = {k.replace(".experts.0.", ".experts.0.wrapped."): v for k, v in plain.state_dict().items()}
    adapted.load_state_dict(weights, strict=False)
    x = torch.randn(2, 5, WIDTH)
    assert torch.equal(adapted(x)[0], plain(x)[0])


# -- a recipe ----------------------------------------------------------------------------------------------------------


def my_arch(d_hidden: int, *, num_blocks: int = 4) -> CortexStackConfig:
    """A builder, as the oldest document asks for one: a few sizes, and a config."""
    pair = (
        PreUpScaffoldConfig(core=mLSTMCoreConfig(hidden_size=None, num_heads=4), proj_factor=2.0),
        PostUpScaffoldConfig(core=sLSTMCoreConfig(hidden_size=None, num_heads=4), proj_factor=1.5),
    )
    scaffolds = tuple(pair[i % 2] for i in range(num_blocks))
    return CortexStackConfig(d_hidden=d_hidden, scaffolds=scaffolds, post_norm=True)


def test_a_recipe(tmp_path: Path) -> None:
    """B11, Z6: write a builder, keep it as a text under a name, compile it to a package, import that elsewhere, check
    shapes, state and resets."""
    cfg = my_arch(WIDTH)
    stack = build_cortex(cfg, backend="eager")
    recipe = tmp_path / "my_arch.cortex"
    recipe.write_text(f"# the house recipe\n{format_spec(cfg)}\n")
    assert parse(recipe.read_text()) == cfg

    command = [sys.executable, "-m", "cortexc.cli", "compile", str(recipe), "--backend", "eager", "--json"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout)["path"])
    again = cortexc.load(folder)
    again.load_state_dict(stack.state_dict())

    x = torch.randn(3, 5, WIDTH)
    resets = torch.zeros(3, 5, dtype=torch.bool)
    resets[1, 2] = True
    (y, state), (z, _) = stack(x, resets=resets), again(x, resets=resets)
    assert y.shape == x.shape and torch.equal(y, z)
    names = ["PreUpScaffold_0", "PostUpScaffold_1", "PreUpScaffold_2", "PostUpScaffold_3"]
    assert list(state.keys()) == names and list(state["PreUpScaffold_0"].keys()) == ["mLSTMCore"]
    assert torch.allclose(y[1, 2:], stack(x[1:2, 2:])[0][0], atol=1e-5)
    assert not torch.allclose(y[0, 2:], stack(x[:1, 2:])[0][0], atol=1e-5)
    assert cortexc.check_core(stack).ok

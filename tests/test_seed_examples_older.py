"""The code examples of the older seed document, run after the map of names in seed_examples.py. Covers P4, K9-K15, B4,
B6, B7, B8, R1, S8, X2, X3."""

from __future__ import annotations

import pytest
import torch

from cortexc import MemoryCore, config

from .seed_examples import as_a_user, run_older, shape  # noqa: F401  (as_a_user is a fixture)

pytestmark = pytest.mark.usefixtures("as_a_user")


def test_older_quick_start() -> None:
    left = run_older("""
import torch
from cortex.stacks import build_cortex_auto_stack  # packages/cortex/src/cortex/stacks/auto.py

# Build a 4-layer Column stack; each layer mixes A, X, M, S experts
stack = build_cortex_auto_stack(
    d_hidden=256,
    num_layers=4,
    pattern="AXMS",                 # per-layer expert set (can be a list for per-layer patterns)
)

stack = stack.cuda()

# Initialize and run
B, T = 4, 16
x = torch.randn(B, T, 256, device="cuda")
out, state = stack(x)

# Single-step inference
x_step = torch.randn(B, 256, device="cuda")
out_step, state = stack.step(x_step, state)
""")
    assert shape(left["out"]) == [4, 16, 256] and shape(left["out_step"]) == [4, 256]
    assert len(left["state"].keys()) == 4


def test_older_overrides() -> None:
    left = run_older("""
from cortex.stacks import build_cortex_auto_stack
from cortex.config import XLCellConfig, RouterConfig, PostUpGatedBlockConfig

# 1) Override Transformer-XL memory length globally (affects X/X^)
first = stack = build_cortex_auto_stack(
    d_hidden=256,
    num_layers=2,
    pattern="X^X",
    override_global_configs=[XLCellConfig(mem_len=64)],
)

# 2) Change Column router defaults (e.g., key dim and temperature)
second = stack = build_cortex_auto_stack(
    d_hidden=256,
    num_layers=2,
    pattern="AXMS",
    override_global_configs=[RouterConfig(d_key=128, temperature=0.7)],
)

# 3) Tweak block-level projection width for gated post-up (used by token X)
third = stack = build_cortex_auto_stack(
    d_hidden=256,
    num_layers=2,
    pattern="XX",
    override_global_configs=[PostUpGatedBlockConfig(proj_factor=2.0)],
)
""")
    first, second, third = (left[n].spec.scaffolds for n in ("first", "second", "third"))
    assert [(e.core.mem_len, e.core.use_axon_qkv) for e in first[1].experts] == [(64, True), (64, False)]
    assert (second[1].router.d_key, second[1].router.temperature) == (128, 0.7)
    assert {e.proj_factor for layer in third for e in layer.experts} == {2.0}


def test_older_hidden_size_inference() -> None:
    left = run_older(
        """
# Recommended: explicit None shows the value will be inferred
a = (
PreUpBlockConfig(
    cell=LSTMCellConfig(hidden_size=None),  # Will be set to int(2.0 * 256) = 512
    proj_factor=2.0
)
)

# Also works but misleading: 128 will be ignored and overridden to 512
b = (
PreUpBlockConfig(
    cell=LSTMCellConfig(hidden_size=128),  # Ignored! Actually becomes 512
    proj_factor=2.0
)
)
from cortex import CortexStackConfig
from cortex.cortex_dsl import resolve
spec = resolve(CortexStackConfig(d_hidden=256, blocks=[a, b]))
""",
        **{n: getattr(config, n) for n in ("PreUpScaffoldConfig", "LSTMCoreConfig")},
    )
    assert [layer.core.hidden_size for layer in left["spec"].scaffolds] == [512, 512]


def test_older_columns() -> None:
    left = run_older("""
from cortex.blocks.column.auto import build_column_auto_config
from cortex.config import RouterConfig
import cortex.tokens  # ensure built-ins are registered via decorators

col_cfg = build_column_auto_config(
    d_hidden=256,
    pattern="AXMS^",                 # A|X|M|S experts; ^ enables axonified variant when supported
    router=RouterConfig(top_k=2, temperature=0.7),
)

from cortex.config import PostUpGatedBlockConfig, XLCellConfig

custom = {"X": PostUpGatedBlockConfig(cell=XLCellConfig(mem_len=128))}
col_cfg2 = build_column_auto_config(d_hidden=256, pattern="X^", custom_map=custom)
""")
    assert [getattr(e.core, "use_axon_layer", None) for e in left["col_cfg"].experts] == [None, None, False, True]
    (xl,) = left["col_cfg2"].experts
    assert (xl.core.mem_len, xl.core.use_axon_qkv) == (128, True)


def test_older_manual_stack() -> None:
    left = run_older("""
import torch
from cortex import CortexStackConfig, build_cortex
from cortex.config import LSTMCellConfig, PreUpBlockConfig, PassThroughBlockConfig

config = CortexStackConfig(
    d_hidden=256,
    blocks=[
        PreUpBlockConfig(cell=LSTMCellConfig(hidden_size=None, num_layers=2), proj_factor=2.0),
        PassThroughBlockConfig(cell=LSTMCellConfig(hidden_size=256, num_layers=1)),
    ],
    post_norm=True,
)

stack = build_cortex(config)
B, T = 4, 16
state = stack.init_state(batch=B, device="cuda", dtype=torch.float32)
x = torch.randn(B, T, 256, device="cuda")
out, state = stack(x, state)
""")
    assert shape(left["out"]) == [4, 16, 256]


def test_older_tokens_and_custom_map() -> None:
    left = run_older("""
# 1) Define and register custom tokens
from cortex.registry import register_token
from cortex.config import PostUpGatedBlockConfig, PreUpBlockConfig, XLCellConfig, mLSTMCellConfig

@register_token("Y")
def build_Y():
    return PostUpGatedBlockConfig(cell=XLCellConfig(mem_len=64))

@register_token("Y^")
def build_Y_axon():
    d = XLCellConfig().model_dump()
    d["use_axon_qkv"] = True
    return PostUpGatedBlockConfig(cell=XLCellConfig(**d))

@register_token("Q")
def build_Q():
    return PreUpBlockConfig(cell=mLSTMCellConfig())

# 2) Build Columns from a pattern and compose a stack config
import cortex.tokens  # ensure built-ins are registered
from cortex.blocks.column.auto import build_column_auto_config
from cortex import CortexStackConfig, build_cortex

col1 = build_column_auto_config(d_hidden=256, pattern="AY^Q")
col2 = build_column_auto_config(d_hidden=256, pattern="AXMS^")
cfg = CortexStackConfig(d_hidden=256, blocks=[col1, col2], post_norm=True)
stack = build_cortex(cfg)

# Alternatively, use custom_map at runtime (no decorators)
custom_map = {
    # New custom symbols
    "Y": PostUpGatedBlockConfig(cell=XLCellConfig(mem_len=64)),
    "Q": PreUpBlockConfig(cell=mLSTMCellConfig()),
    # Override built-in X; requesting "X^" will axonify this config automatically
    "X": PostUpGatedBlockConfig(cell=XLCellConfig(mem_len=32)),
}

# Use separators for custom symbols; caret works for built-ins (X/M/S)
col3 = build_column_auto_config(d_hidden=256, pattern="Y X^ Q", custom_map=custom_map)
cfg2 = CortexStackConfig(d_hidden=256, blocks=[col3], post_norm=True)
stack2 = build_cortex(cfg2)
""")
    assert [e.kind for e in left["col1"].experts] == ["postup_gated", "postup_gated", "preup"]
    assert (left["col1"].experts[1].core.use_axon_qkv, left["col1"].experts[1].core.mem_len) == (True, 128)
    cores = [e.core for e in left["col3"].experts]
    assert (cores[0].mem_len, cores[1].mem_len, cores[1].use_axon_qkv) == (64, 32, True)
    x = torch.randn(1, 2, 256)
    assert shape(left["stack"](x)[0]) == shape(left["stack2"](x)[0]) == [1, 2, 256]


def test_older_recipe() -> None:
    left = run_older("""
from cortex.registry import register_token
from cortex.config import PostUpGatedBlockConfig, XLCellConfig

@register_token("Y")
def build_Y():
    return PostUpGatedBlockConfig(cell=XLCellConfig())

@register_token("Y^")
def build_Y_axon():
    d = XLCellConfig().model_dump()
    d["use_axon_qkv"] = True
    return PostUpGatedBlockConfig(cell=XLCellConfig(**d))

from cortex.stacks import build_cortex_auto_config, build_cortex_auto_stack
import cortex.tokens  # ensure built-ins are registered via decorators

cfg = build_cortex_auto_config(d_hidden=256, num_layers=3, pattern="Y^Y")
stack = build_cortex_auto_stack(d_hidden=256, num_layers=3, pattern=["YY", "Y^", "YYY"])
""")
    assert [len(layer.experts) for layer in left["cfg"].scaffolds] == [2, 2, 2]
    assert [len(layer.experts) for layer in left["stack"].spec.scaffolds] == [2, 1, 3]


def test_older_axon_layer() -> None:
    """Its core has no ``init_state`` and takes no resets: enough for calls by hand."""
    left = run_older("""
from tensordict import TensorDict
from cortex.cells.base import MemoryCell
from cortex.cells.core import AxonLayer, update_parent_state
from cortex.config import AxonConfig

class MyCell(MemoryCell):
    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size=hidden_size)
        ax_cfg = AxonConfig(hidden_size=hidden_size, out_dim=hidden_size)
        self.ax = AxonLayer(hidden_size, hidden_size, cfg=ax_cfg, name="proj", group="mycell")
        # ... additional layer definitions ...

    def forward(self, x, state):
        if state is None:
            state = TensorDict({}, batch_size=[x.shape[0]])

        ax = self.ax(x, state=state)  # mutates state in place
        # ... custom logic using ax ...
        out = ax  # placeholder

        next_state = TensorDict({
            # "c": ..., "n": ..., "m": ...  # cell-specific keys
        }, batch_size=[x.shape[0]])
        update_parent_state(next_state, state)
        return out, next_state
""")
    cell = left["MyCell"](16)
    assert isinstance(cell, MemoryCore)
    x = torch.randn(2, 6, 16)
    y, _ = cell(x, None)
    first, state = cell(x[:, :3], None)
    second, _ = cell(x[:, 3:], state)
    assert torch.allclose(torch.cat([first, second], 1), y, atol=1e-5)


def test_older_builder_with_axon_layers() -> None:
    left = run_older("""
from cortex.stacks import build_cortex_auto_stack

# 1) Build a Cortex stack
stack = build_cortex_auto_stack(
    d_hidden=256,
    num_layers=3,
    post_norm=True,
    use_axonlayers=True,
)
""")
    (_, _, mlstm, slstm) = left["stack"].spec.scaffolds[2].experts
    assert mlstm.core.use_axon_layer and mlstm.core.use_axon_qkv and slstm.core.use_axon_layer

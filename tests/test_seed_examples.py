"""The code examples of the newest seed document, run as they stand; only the import name is changed. Covers P3, P5,
P6, U7, E8-E11, R1-R6, B1-B3, B8, A1, A2, X1-X4, Z1-Z3."""

from __future__ import annotations

import pytest
import torch

from cortexc import CortexPartError, check_core
from cortexc.runtime import CompiledStack

from .seed_examples import as_a_user, run, shape  # noqa: F401  (as_a_user is a fixture)

pytestmark = pytest.mark.usefixtures("as_a_user")


def test_quick_start() -> None:
    left = run("""
import torch
from cortex.cells import AxonCellConfig, XLCellConfig, mLSTMCellConfig, sLSTMCellConfig
from cortex.stacks import build_cortex_auto_stack

stack = build_cortex_auto_stack(
    d_hidden=256,
    num_layers=2,
    layers=[
        [AxonCellConfig(), XLCellConfig(), mLSTMCellConfig(), sLSTMCellConfig()],
        [AxonCellConfig(), XLCellConfig(), mLSTMCellConfig(), sLSTMCellConfig()],
    ],
)

x = torch.randn(4, 32, 256)
y, state = stack(x, state=None)

x_t = torch.randn(4, 256)
state = stack.init_state(batch=4, device=x_t.device, dtype=x_t.dtype)
y_t, state = stack.step(x_t, state)
""")
    assert shape(left["y"]) == [4, 32, 256] and shape(left["y_t"]) == [4, 256]
    assert list(left["state"].keys()) == ["ColumnScaffold_0", "ColumnScaffold_1"]
    first = left["stack"].step(left["x"][:, 0])[0]
    assert torch.allclose(first, left["y"][:, 0], atol=1e-4)


def test_override_the_nested_core() -> None:
    left = run("""
from cortex.cells import XLCellConfig, mLSTMCellConfig
from cortex.config import XLCoreConfig, mLSTMCoreConfig

layer = [
    XLCellConfig(core=XLCoreConfig(mem_len=256, use_axon_qkv=True)),
    mLSTMCellConfig(core=mLSTMCoreConfig(num_heads=8, chunk_size=32)),
]
""")
    xl, mlstm = left["layer"]
    assert (xl.core.mem_len, xl.core.use_axon_qkv) == (256, True)
    assert (mlstm.core.num_heads, mlstm.core.chunk_size) == (8, 32)


def test_explicit_cell() -> None:
    left = run("""
from cortex import CellConfig
from cortex.config import PostUpScaffoldConfig, XLCoreConfig

cell = CellConfig(
    scaffold=PostUpScaffoldConfig(proj_factor=2.0),
    core=XLCoreConfig(mem_len=128),
)
""")
    scaffold = left["cell"].to_scaffold()
    assert (scaffold.kind, scaffold.proj_factor, scaffold.core.mem_len) == ("postup", 2.0, 128)


def test_global_overrides() -> None:
    left = run("""
from cortex.cells import XLCellConfig
from cortex.config import RouterConfig, XLCoreConfig
from cortex.stacks import build_cortex_auto_stack

stack = build_cortex_auto_stack(
    d_hidden=256,
    num_layers=3,
    layers=[[XLCellConfig()]] * 3,
    router=RouterConfig(d_key=128, temperature=0.7),
    override_global_configs=[XLCoreConfig(mem_len=512)],
)
""")
    for layer in left["stack"].spec.scaffolds:
        assert (layer.router.d_key, layer.router.temperature) == (128, 0.7)
        assert layer.experts[0].core.mem_len == 512


def test_default_cells() -> None:
    left = run("""
from cortex.cells import default_cells

cells = default_cells()
""")
    kinds = [type(cell).__name__ for cell in left["cells"]]
    assert kinds == ["AxonCellConfig", "XLCellConfig", "mLSTMCellConfig", "sLSTMCellConfig"]


def test_hidden_size_inference() -> None:
    left = run("""
from cortex.config import LSTMCoreConfig, PreUpScaffoldConfig

cfg = PreUpScaffoldConfig(
    core=LSTMCoreConfig(hidden_size=None, num_layers=2),
    proj_factor=2.0,
)
""")
    assert left["cfg"].core.hidden_size is None and left["cfg"].core_width(256) == 512


def test_column_from_cells() -> None:
    left = run("""
from cortex import CellConfig, RouterConfig, build_column_auto_config
from cortex.cells import AxonCellConfig, XLCellConfig
from cortex.config import PostUpScaffoldConfig, XLCoreConfig, sLSTMCoreConfig

col_cfg = build_column_auto_config(
    d_hidden=256,
    cells=[
        AxonCellConfig(),
        XLCellConfig(core=XLCoreConfig(mem_len=128, use_axon_qkv=True)),
        CellConfig(
            scaffold=PostUpScaffoldConfig(proj_factor=1.5),
            core=sLSTMCoreConfig(num_heads=4),
        ),
    ],
    router=RouterConfig(top_k=2, temperature=0.7, whisper_lambda=0.1),
)
""")
    column = left["col_cfg"]
    assert [e.kind for e in column.experts] == ["postup_gated", "postup_gated", "postup"]
    assert (column.router.top_k, column.router.temperature) == (2, 0.7)


def test_manual_stack() -> None:
    left = run("""
import torch
from cortex import CortexStackConfig, build_cortex
from cortex.config import LSTMCoreConfig, PassThroughScaffoldConfig, PreUpScaffoldConfig

cfg = CortexStackConfig(
    d_hidden=256,
    scaffolds=[
        PreUpScaffoldConfig(
            core=LSTMCoreConfig(hidden_size=None, num_layers=2),
            proj_factor=2.0,
        ),
        PassThroughScaffoldConfig(
            core=LSTMCoreConfig(hidden_size=256, num_layers=1),
        ),
    ],
    post_norm=True,
)

stack = build_cortex(cfg)
state = stack.init_state(batch=4, device="cpu", dtype=torch.float32)
x = torch.randn(4, 16, 256)
out, state = stack(x, state)
""")
    assert shape(left["out"]) == [4, 16, 256]
    assert shape(left["state"]["PreUpScaffold_0", "LSTMCore", "h"]) == [4, 2, 512]
    assert shape(left["state"]["PassThroughScaffold_1", "LSTMCore", "c"]) == [4, 1, 256]


def test_manual_column() -> None:
    left = run("""
from cortex import CortexStackConfig, RouterConfig, build_column_auto_config, build_cortex
from cortex.cells import AxonCellConfig, mLSTMCellConfig

column = build_column_auto_config(
    d_hidden=256,
    cells=[AxonCellConfig(), mLSTMCellConfig()],
    router=RouterConfig(top_k=1),
)

stack = build_cortex(
    CortexStackConfig(
        d_hidden=256,
        scaffolds=[column],
        post_norm=True,
    )
)
""")
    assert shape(left["stack"](torch.randn(2, 3, 256))[0]) == [2, 3, 256]
    assert left["stack"].spec.scaffolds[0].router.top_k == 1


def test_routed_adapters() -> None:
    left = run("""
import torch
from cortex import RoutedAdapterConfig
from cortex.cells import AxonCellConfig, XLCellConfig
from cortex.stacks import build_cortex_auto_stack

stack = build_cortex_auto_stack(
    d_hidden=256,
    layers=[[AxonCellConfig(), XLCellConfig()]],
    routed_adapter=RoutedAdapterConfig(num_slots=64, rank=8, dropout=0.0),
)

B, T = 4, 16
x = torch.randn(B, T, 256)
route_ids = torch.tensor([0, 5, 12, 7], dtype=torch.long)
out, state = stack(x, route_ids=route_ids)
""")
    assert shape(left["out"]) == [4, 16, 256]


def test_axon_layer() -> None:
    left = run("""
import torch
from tensordict import TensorDict
from cortex import AxonCoreConfig, AxonLayer, MemoryCore
from cortex.cores.core.axon_layer import update_parent_state


class MyCore(MemoryCore):
    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size=hidden_size)
        self.proj = AxonLayer(
            hidden_size,
            hidden_size,
            cfg=AxonCoreConfig(hidden_size=hidden_size, out_dim=hidden_size),
            name="proj",
            group="mycore",
        )

    def init_state(self, batch: int, *, device: torch.device | str, dtype: torch.dtype) -> TensorDict:
        return TensorDict({}, batch_size=[batch], device=torch.device(device))

    def forward(self, x, state, *, resets=None):
        if state is None:
            state = self.init_state(x.shape[0], device=x.device, dtype=x.dtype)
        y = self.proj(x, state=state, resets=resets)
        next_state = TensorDict({}, batch_size=[x.shape[0]], device=x.device)
        update_parent_state(next_state, state)
        return y, next_state

    def reset_state(self, state, mask):
        return self.proj.reset_state(mask, state=state)
""")
    core = left["MyCore"](32)
    y, state = core(torch.randn(4, 6, 32))
    assert shape(y) == [4, 6, 32]
    assert shape(state["mycore", "proj", "hc1"]) == [4, 32]
    report = check_core(core)
    assert report.ok, str(report)


CUSTOM_CORE = """
import torch
from tensordict import TensorDict
from cortex import CoreConfig, MemoryCore, register_core


class GRUCoreConfig(CoreConfig):
    num_layers: int = 1


@register_core(GRUCoreConfig)
class GRUCore(MemoryCore):
    def __init__(self, cfg: GRUCoreConfig) -> None:
        super().__init__(hidden_size=cfg.hidden_size)
        self.net = torch.nn.GRU(
            input_size=cfg.hidden_size,
            hidden_size=cfg.hidden_size,
            num_layers=cfg.num_layers,
            batch_first=True,
        )
        self.num_layers = cfg.num_layers

    def init_state(self, batch: int, *, device: torch.device | str, dtype: torch.dtype) -> TensorDict:
        h = torch.zeros(batch, self.num_layers, self.hidden_size, device=device, dtype=dtype)
        return TensorDict({"h": h}, batch_size=[batch])

    def forward(self, x, state, *, resets=None):
        ...

    def reset_state(self, state, mask):
        ...
"""
FORWARD = """
        if resets is not None:
            return self.scan(self.forward, x, state, resets)
        y, h = self.net(x.view(x.shape[0], -1, x.shape[-1]), state["h"].transpose(0, 1).contiguous())
        return y.view_as(x), TensorDict({"h": h.transpose(0, 1)}, batch_size=[x.shape[0]])
"""
RESET = """
        return TensorDict({"h": torch.where(mask[:, None, None], 0, state["h"])}, batch_size=[mask.shape[0]])
"""
STACK = """
from cortex import CellConfig
from cortex.config import PostUpScaffoldConfig
from cortex.stacks import build_cortex_auto_stack

cell = CellConfig(scaffold=PostUpScaffoldConfig(), core=GRUCoreConfig(num_layers=2))
stack = build_cortex_auto_stack(d_hidden=32, layers=[[cell], [cell]])
"""


def test_custom_core() -> None:
    """As printed, with ``...`` for its methods, it registers and builds, and a call says what is missing; with the
    methods written it works inside configs and builders."""
    left = run(CUSTOM_CORE + STACK)
    assert shape(left["stack"].init_state(4)["ColumnScaffold_0", "expert_PostUpScaffold_0", "GRUCore", "h"]) == [
        4,
        2,
        32,
    ]
    with pytest.raises(CortexPartError, match=r"GRUCore.forward returned one NoneType; expected \(y, state\)"):
        left["stack"](torch.randn(4, 5, 32))
    head, forward, reset = CUSTOM_CORE.split("        ...\n")
    left = run(head + FORWARD.lstrip("\n") + forward + RESET.lstrip("\n") + reset + STACK)
    x, resets = torch.randn(4, 5, 32), torch.zeros(4, 5, dtype=torch.bool)
    resets[:, 3] = True
    y, _ = left["stack"](x, resets=resets)
    assert torch.allclose(y[:, 3:], left["stack"](x[:, 3:])[0], atol=1e-6)


def test_custom_scaffold() -> None:
    """The same: registered and built as printed; a call says what ``...`` returned."""
    left = run("""
from cortex import BaseScaffold, ScaffoldConfig, register_scaffold


class GatedResidualScaffoldConfig(ScaffoldConfig):
    gate_bias: float = 0.0


@register_scaffold(GatedResidualScaffoldConfig)
class GatedResidualScaffold(BaseScaffold):
    def forward(self, x, state, *, resets=None):
        ...
from cortex.config import CortexStackConfig, LSTMCoreConfig
from cortex.stacks import build_cortex

layer = GatedResidualScaffoldConfig(core=LSTMCoreConfig(hidden_size=None), gate_bias=1.0)
stack = build_cortex(CortexStackConfig(d_hidden=32, scaffolds=[layer]))
""")
    stack = left["stack"]
    assert shape(stack.init_state(4)["GatedResidualScaffold_0", "LSTMCore", "h"]) == [4, 1, 32]
    assert stack.layers[0].cfg.gate_bias == 1.0
    with pytest.raises(CortexPartError, match=r"GatedResidualScaffold.forward returned one NoneType"):
        stack(torch.randn(4, 5, 32))


def test_cell_presets_and_recipes() -> None:
    left = run("""
from cortex import CellConfig
from cortex.config import PostUpScaffoldConfig, XLCoreConfig


def LongMemXLCell() -> CellConfig:
    return CellConfig(
        scaffold=PostUpScaffoldConfig(proj_factor=2.0),
        core=XLCoreConfig(mem_len=512, use_axon_qkv=True),
    )

from cortex.stacks import build_cortex_auto_stack

stack = build_cortex_auto_stack(
    d_hidden=256,
    layers=[
        [LongMemXLCell()],
        [LongMemXLCell()],
    ],
)
""")
    assert shape(left["stack"].step(torch.randn(2, 256))[0]) == [2, 256]
    assert [layer.experts[0].core.mem_len for layer in left["stack"].spec.scaffolds] == [512, 512]


def test_package_layout() -> None:
    """The modules that the newest document lists and this version has, and what it says they hold."""
    left = run("""
import cortex.cells, cortex.config, cortex.cores, cortex.scaffolds, cortex.stacks
from cortex.cores import AGaLiTeCore, AxonCore, CausalConv1dCore, LSTMCore, XLCore, mLSTMCore, sLSTMCore, register_core
from cortex.scaffolds import AdapterScaffold, ColumnScaffold, PassThroughScaffold, PostUpGatedScaffold
from cortex.scaffolds import PostUpScaffold, PreUpGatedScaffold, PreUpScaffold, build_column_auto_config

core = LSTMCore(cortex.config.LSTMCoreConfig(hidden_size=16))
""")
    assert isinstance(left["core"], CompiledStack) and set(left["core"].init_state(1).keys()) == {"h", "c"}

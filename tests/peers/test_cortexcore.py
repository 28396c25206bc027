"""Imported weights compute what they computed: our stacks against cortexcore 0.1.6 itself, float64, random weights.

Compared where that library is well defined: every row reset at t = 0 (it attends empty memory otherwise), no reset
inside a sequence longer than 64 (it leaks), at most ``mem_len`` steps (its window is another one in sequences), no
state carried into a sequence without a mask (it forgets the convolution's window). Gradients too, where its backward
is right."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cortexc.runtime import CompiledStack, import_checkpoint
from cortexc.runtime.import_cortexcore import cortexcore_names

from ..tolerances import assert_close
from .conftest import in_float64, walsh_hadamard

pytestmark = pytest.mark.peers

STEPS = 37
F64 = torch.float64
# Pattern and number of layers there, pattern here.
TOKENS = {token: (token, 1, token) for token in ("A", "X", "M", "S", "L", "C", "Ag")}
CARETS = {token: (token, 1, token) for token in ("X^", "M^", "S^")}
STACKS = {
    "AXMS": ("AXMS", 1, "AXMS"),
    "AXMS x4": ("AXMS", 4, "AXMS x4"),
    "every token": ("AXMSLCAg", 1, "AXMSLCAg"),
    "two layers": (["AS", "XM"], 2, "AS / XM"),
}


@pytest.fixture(autouse=True)
def _float64() -> Any:
    torch.set_default_dtype(F64)
    yield
    torch.set_default_dtype(torch.float32)


def moved(stack: torch.nn.Module) -> torch.nn.Module:
    """Off the starting point, where output maps of zeros would hide what is behind them."""
    with torch.no_grad():
        for p in stack.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return stack


def auto(cortex: SimpleNamespace, pattern: object, layers: int, width: int, **options: object) -> torch.nn.Module:
    made = cortex.auto(d_hidden=width, num_layers=layers, pattern=pattern, compile_blocks=False, **options)
    return moved(made.double())  # its alphas are float32 whatever the default


def compare(cortex: SimpleNamespace, old: Any, pattern: str, width: int = 16, steps: int = STEPS) -> None:
    """A sequence in one call, then the same step by step; every row reset at its first step."""
    new = import_checkpoint(old.state_dict(), pattern, d_hidden=width, backend="eager")
    x = torch.randn(2, steps, width)
    resets = torch.zeros(2, steps, dtype=torch.bool)
    resets[:, 0] = True
    with torch.no_grad():
        with in_float64(cortex):
            expected, _ = old(x, resets=resets)
        assert_close(new(x, resets=resets)[0], expected, what="sequence")
        assert_close(new(x)[0], expected, what="from a fresh state")
        before, state = None, None
        for t in range(min(steps, STEPS)):
            with in_float64(cortex):
                expected, before = old.step(x[:, t], before, resets=resets[:, t])
            y, state = new.step(x[:, t], state, resets=resets[:, t])
            assert_close(y, expected, what=f"step {t}")


# -- outputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TOKENS, *STACKS])
def test_outputs(name: str, cortex: SimpleNamespace) -> None:
    there, layers, here = {**TOKENS, **STACKS}[name]
    compare(cortex, auto(cortex, there, layers, 16), here)


@pytest.mark.parametrize("name", CARETS)
def test_carets_with_learned_mixing(name: str, cortex: SimpleNamespace) -> None:
    """A width that is no power of two: a learned map mixes the inputs of the Axon layers."""
    compare(cortex, auto(cortex, name, 1, 12), name, width=12)


@pytest.mark.parametrize("name", CARETS)
def test_carets_with_the_hadamard_transform(
    name: str, cortex: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power of two: equal once its CPU path computes the transform that its CUDA path computes."""
    monkeypatch.setattr(cortex.srht, "_fwht_", walsh_hadamard)
    compare(cortex, auto(cortex, name, 1, 16), name)


def test_the_whole_memory(cortex: SimpleNamespace) -> None:
    """As many steps as the memory holds; the last one sees all of them."""
    compare(cortex, auto(cortex, "X", 1, 16), "X", steps=128)
    short = auto(cortex, "X", 1, 16, override_global_configs=[cortex.config.XLCellConfig(mem_len=9)])
    compare(cortex, short, "X(mem_len=9)", steps=9)


def test_one_chunk_of_the_mlstm(cortex: SimpleNamespace) -> None:
    compare(cortex, auto(cortex, "M", 1, 16), "M", steps=64)


ROUTERS: dict[str, tuple[dict[str, object], str]] = {
    "narrow keys": ({"d_key": 5, "d_key_local": 3}, "{d_key=5, d_key_local=3}"),
    "temperatures": ({"temperature": 0.7, "local_temperature": 1.3}, "{temperature=0.7, local_temperature=1.3}"),
    "no refinement": ({"whisper_lambda": 0.0}, "{whisper_lambda=0.0}"),
    "not centred": ({"center_refine": False}, "{center_refine=false}"),
    "plain scale": ({"use_sqrt_scale": False}, "{use_sqrt_scale=false}"),
}


@pytest.mark.parametrize("name", ROUTERS)
def test_routers(name: str, cortex: SimpleNamespace) -> None:
    options, here = ROUTERS[name]
    router = cortex.config.RouterConfig(init_scale_wq=0.3, init_scale_wk=0.3, **options)
    compare(cortex, auto(cortex, "ASC", 1, 16, router=router), f"ASC{here}")


CORES: dict[str, tuple[Callable[[Any], list[object]], str]] = {
    "axon": (
        lambda c: [c.AxonConfig(use_fullrank_rtu=True, activation="silu"), c.AxonConfig(use_untraced_linear=False)],
        "layer(postup(axon(use_fullrank_rtu=true, use_untraced_linear=false, activation=silu)))"
        " / layer(postup(axon(use_untraced_linear=false)))",
    ),
    "xl": (
        lambda c: [c.XLCellConfig(n_heads=2, head_dim=5, use_bias=False)],
        "layer(postup(xl(n_heads=2, head_dim=5, use_bias=false)))",
    ),
    "mlstm": (
        lambda c: [c.mLSTMCellConfig(num_heads=2, chunk_size=8, conv1d_kernel_size=3)],
        "layer(postup(mlstm(num_heads=2, conv1d_kernel_size=3)))",
    ),
    "slstm": (
        lambda c: [c.sLSTMCellConfig(num_heads=2, conv1d_kernel_size=2)],
        "layer(postup(slstm(num_heads=2, conv1d_kernel_size=2)))",
    ),
    "lstm": (lambda c: [c.LSTMCellConfig(bias=False)], "layer(postup(lstm(bias=false)))"),
    "conv": (
        lambda c: [c.CausalConv1dConfig(kernel_size=3, channel_mixing=True)],
        "layer(postup(conv(kernel_size=3, channel_mixing=true)))",
    ),
    "agalite": (
        lambda c: [c.AGaLiTeCellConfig(n_heads=2, eta=3, r=5)],
        "layer(postup(agalite(n_heads=2, eta=3, r=5)))",
    ),
}


@pytest.mark.parametrize("name", CORES)
def test_options_of_cores(name: str, cortex: SimpleNamespace) -> None:
    make, here = CORES[name]
    blocks = [cortex.config.PostUpBlockConfig(cell=cell) for cell in make(cortex.config)]
    config = cortex.config.CortexStackConfig(d_hidden=16, compile_blocks=False, blocks=blocks)
    compare(cortex, moved(cortex.build(config)), here, steps=8 if name == "mlstm" else STEPS)


def test_every_scaffold(cortex: SimpleNamespace) -> None:
    c = cortex.config
    blocks = [
        c.AdapterBlockConfig(base_block=c.PreUpBlockConfig(cell=c.LSTMCellConfig()), bottleneck=8),
        c.PostUpBlockConfig(cell=c.AxonConfig()),
        c.PreUpGatedBlockConfig(cell=c.sLSTMCellConfig(), proj_factor=1.5, activate_cell_input=False),
        c.PostUpGatedBlockConfig(cell=c.CausalConv1dConfig(), proj_factor=2.0),
        c.PassThroughBlockConfig(cell=c.XLCellConfig()),
        c.PreUpBlockConfig(cell=c.mLSTMCellConfig()),
    ]
    old = cortex.build(c.CortexStackConfig(d_hidden=16, compile_blocks=False, post_norm=False, blocks=blocks))
    here = (
        "layer(preup(lstm)@adapter(bottleneck=8)) / layer(postup(axon))"
        " / layer(preup_gated(slstm, proj_factor=1.5, activate_cell_input=false))"
        " / layer(postup_gated(conv, proj_factor=2.0)) / layer(passthrough(xl)) / layer(preup(mlstm))"
        " with post_norm=false"
    )
    compare(cortex, moved(old), here)


@pytest.mark.parametrize("layers", [1, 2])
def test_routed_adapters(layers: int, cortex: SimpleNamespace) -> None:
    """Low-rank adapters by row, of every nn.Linear and the sLSTM's gates there, in one pattern with all of them. Held
    against its steps: in a sequence it drops the adapters of each map that it gives [B·T, H]."""
    options = {"num_slots": 3, "rank": 2, "alpha": 5.0}
    adapters = cortex.config.RoutedAdapterConfig(**options)
    old = auto(cortex, "AXMSLCAg", layers, 16, routed_adapter=adapters)
    for name, p in old.named_parameters():
        if name.endswith("r_proj.adapter_B"):
            p.data.zero_()  # that of the positions, which all rows share, has no effect there
    text = ", ".join(f"{key}={value}" for key, value in options.items())
    here = f"AXMSLCAg x{layers} with " + " ".join(f"adapter_{pair}" for pair in text.split(", "))
    new = import_checkpoint(old.state_dict(), here, backend="eager")
    x, routes = torch.randn(3, STEPS, 16), torch.tensor([2, 0, 1])
    resets = torch.zeros(3, STEPS, dtype=torch.bool)
    resets[:, 0] = True
    with torch.no_grad():
        with in_float64(cortex):
            state, steps = None, []
            for t in range(STEPS):
                y, state = old.step(x[:, t], state, resets=resets[:, t], route_ids=routes)
                steps.append(y)
            whole, _ = old(x, resets=resets, route_ids=routes)
        expected = torch.stack(steps, 1)
        assert_close(new(x, route_ids=routes)[0], expected)
        assert not torch.allclose(whole, expected, atol=1e-2)
        assert not torch.allclose(new(x, route_ids=routes.flip(0))[0], expected, atol=1e-2)


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "masked"),
    [("A", False), ("X", True), ("M", True), ("S", True), ("L", True), ("C", True), ("Ag", True), ("MSLCAg", True)],
)
def test_gradients(name: str, masked: bool, cortex: SimpleNamespace) -> None:
    """Of x and of every parameter; an Axon's without a mask, since it cuts gradients one step beside a reset."""
    old = auto(cortex, name, 1, 16)
    new = import_checkpoint(old.state_dict(), name, backend="eager")
    x, weight = torch.randn(2, STEPS, 16), torch.randn(2, STEPS, 16)
    resets = torch.zeros(2, STEPS, dtype=torch.bool)
    resets[:, 0] = True

    def gradient(stack: Any) -> Tensor:
        leaf = x.clone().requires_grad_()
        y, _ = stack(leaf, resets=resets if masked else None)
        (y * weight).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    with in_float64(cortex):
        expected = gradient(old)
    assert_close(gradient(new), expected, what="x")
    theirs = {n: p.grad for n, p in old.named_parameters()}
    named = cortexcore_names(theirs, {n: p.shape for n, p in new.named_parameters()})
    for n, p in new.named_parameters():
        assert p.grad is not None
        assert_close(p.grad, named[n], what=n)


# -- where the two differ on purpose -----------------------------------------------------------------------------------


def test_its_transform_on_a_cpu_is_no_rotation(cortex: SimpleNamespace) -> None:
    """Its in-place butterfly reads what it has just written: (a, b) becomes (a + b, a). Its CUDA kernel is right."""
    broken = cortex.srht._fwht_(torch.eye(2))
    assert broken.tolist() == [[1.0, 1.0], [1.0, 0.0]]
    matrix = walsh_hadamard(torch.eye(16)) / 4
    assert_close(matrix @ matrix.T, torch.eye(16))


def differs(cortex: SimpleNamespace, stack: CompiledStack, old: Any, x: Tensor, resets: Tensor | None) -> bool:
    with torch.no_grad(), in_float64(cortex):
        expected, _ = old(x, resets=resets)
    return not torch.allclose(stack(x, resets=resets)[0], expected, rtol=0, atol=1e-4)


def test_what_the_notes_say(cortex: SimpleNamespace) -> None:
    """Each difference that the import tells of is one, in the case that it names."""
    x = torch.randn(2, 150, 16)
    late = torch.zeros(2, 150, dtype=torch.bool)
    late[:, 0] = late[:, 100] = True

    def pair(pattern: str) -> tuple[CompiledStack, Any]:
        old = auto(cortex, pattern, 1, 16)
        return import_checkpoint(old.state_dict(), pattern, backend="eager"), old

    blocks = [cortex.config.PostUpBlockConfig(cell=cortex.config.sLSTMCellConfig(conv1d_kernel_size=0))]
    old = moved(cortex.build(cortex.config.CortexStackConfig(d_hidden=16, compile_blocks=False, blocks=blocks)))
    here = "layer(postup(slstm(conv1d_kernel_size=0)))"
    assert differs(cortex, import_checkpoint(old.state_dict(), here, backend="eager"), old, x[:, :9], None)
    assert differs(cortex, *pair("S^"), x[:, :9], None)  # the transform on a CPU
    assert differs(cortex, *pair("X"), x[:, :9], None)  # empty places of the memory
    assert differs(cortex, *pair("X"), x, late & (torch.arange(150) < 1))  # beyond the window
    assert differs(cortex, *pair("M"), x, late)  # a reset inside a long sequence
    router = cortex.config.RouterConfig(top_k=1)
    old = auto(cortex, "SC", 1, 16, router=router)
    new = import_checkpoint(old.state_dict(), "SC{top_k=1}", backend="eager")
    assert differs(cortex, new, old, x[:, :9], None)  # the mixer of a top-k column
    new, old = pair("C")
    with torch.no_grad(), in_float64(cortex):
        whole, _ = old(x[:, :9])
        _, state = old(x[:, :4])
        rest, _ = old(x[:, 4:9], state)
    assert not torch.allclose(whole[:, 4:], rest, atol=1e-4)  # the window of the convolution
    _, carried = new(x[:, :4])
    assert_close(new(x[:, 4:9], carried)[0], whole[:, 4:])

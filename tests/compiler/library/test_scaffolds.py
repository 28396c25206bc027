"""Adapters, stacks as cores, options of the router, what a pre-up scaffold feeds its core. Covers S1-S7, U13."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cortexc
from cortexc.compiler.library.stack import trace_part
from cortexc.cortex_dsl import (
    AdapterScaffoldConfig,
    ColumnScaffoldConfig,
    CortexStackConfig,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpGatedScaffoldConfig,
    PreUpScaffoldConfig,
    RouterConfig,
    mLSTMCoreConfig,
    sLSTMCoreConfig,
)

from ...tolerances import assert_close

F64 = torch.float64
H, B, T = 8, 3, 6
INNER = PostUpScaffoldConfig(core=LSTMCoreConfig())


def compiled(config: object, backend: str = "eager") -> nn.Module:
    return cortexc.compile(config, d_hidden=H, backend=backend, dtype=F64)  # type: ignore[arg-type]


def data() -> torch.Tensor:
    torch.manual_seed(5)
    return torch.randn(B, T, H, dtype=F64)


@pytest.mark.parametrize("per_channel", [False, True])
def test_adapter_starts_as_the_identity(per_channel: bool) -> None:
    """Exactly: the output, the state under `wrapped` and the gradients of the scaffold inside."""
    adapter = compiled(AdapterScaffoldConfig(scaffold=INNER, bottleneck=5, per_channel_gate=per_channel))
    inner = compiled(INNER)
    weights = {k.removeprefix("wrapped."): v for k, v in adapter.state_dict().items() if k.startswith("wrapped.")}
    inner.load_state_dict(weights)
    (y, state), (expected, inner_state) = adapter(data()), inner(data())
    assert torch.equal(y, expected)
    for key in ("h", "c"):
        assert torch.equal(state["wrapped", "LSTMCore", key], inner_state["LSTMCore", key])
    assert adapter.gate.shape == ((H,) if per_channel else ()) and adapter.down.weight.shape == (5, H)
    y.sum().backward()
    assert adapter.up.weight.grad.abs().max() > 0  # it trains from there
    expected.sum().backward()
    for name, p in inner.named_parameters():
        assert_close(adapter.get_parameter(f"wrapped.{name}").grad, p.grad, F64, name)


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu", "tanh", "identity", "sigmoid"])
def test_adapter_equation(activation: str) -> None:
    """y + g · W_up act(W_down LN(y))."""
    adapter = compiled(AdapterScaffoldConfig(scaffold=INNER, bottleneck=5, activation=activation))
    inner = compiled(INNER)
    with torch.no_grad():
        for p in adapter.parameters():
            p.add_(0.3 * torch.randn_like(p))
    inner.load_state_dict({k[8:]: v for k, v in adapter.state_dict().items() if k.startswith("wrapped.")})
    y = inner(data())[0]
    functions = {"identity": nn.Identity(), "gelu": nn.GELU(), "silu": nn.SiLU(), "relu": nn.ReLU()}
    functions |= {"tanh": nn.Tanh(), "sigmoid": nn.Sigmoid()}
    down = nn.functional.layer_norm(y, (H,), adapter.norm.weight, adapter.norm.bias)
    down = functions[activation](down @ adapter.down.weight.T + adapter.down.bias)
    assert_close(adapter(data())[0], y + adapter.gate * (down @ adapter.up.weight.T + adapter.up.bias))


def test_stack_as_core_is_that_stack() -> None:
    """PassThrough without residual around a stack is the stack: same numbers, parameters under core.layers.N."""
    inner = CortexStackConfig(scaffolds=(INNER, PassThroughScaffoldConfig(core=sLSTMCoreConfig())))
    outer = compiled(PassThroughScaffoldConfig(core=inner, residual=False))
    alone = compiled(inner.model_copy(update={"d_hidden": H}))
    weights = {k.removeprefix("core."): v for k, v in outer.state_dict().items()}
    assert "layers.1.core.recurrent_kernel" in weights and "norm.weight" in weights
    alone.load_state_dict(weights)
    (y, state), (expected, inner_state) = outer(data()), alone(data())
    assert_close(y, expected)
    for key, leaf in inner_state.items(True, True):
        assert_close(state[("CortexStack", *key)], leaf)


def column(**options: object) -> nn.Module:
    """Three experts, its parameters moved off their start."""
    experts = tuple(PassThroughScaffoldConfig(core=LSTMCoreConfig(num_layers=1 + i % 2)) for i in range(3))
    torch.manual_seed(0)
    found = compiled(ColumnScaffoldConfig(experts=experts, router=RouterConfig(**options)))  # type: ignore[arg-type]
    with torch.no_grad():
        for p in found.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return found


def gradient_of_experts(stack: nn.Module) -> list[float]:
    grads = torch.autograd.grad((stack(data())[0] ** 2).sum(), [e.core.weight_ih_l0 for e in stack.experts])
    return [g.abs().max().item() for g in grads]


def test_top_k_support() -> None:
    """One of three: the others reach neither the output nor the mixer, and the prior of the support stays alive."""
    stack = column(top_k=2)
    dead = [i for i, g in enumerate(gradient_of_experts(stack)) if g == 0]
    assert len(dead) == 1
    y = stack(data())[0]
    with torch.no_grad():
        stack.experts[dead[0]].core.weight_ih_l0.add_(1.0)
    assert torch.equal(stack(data())[0], y)
    (g,) = torch.autograd.grad((y**2).sum(), stack.router.context)
    assert g.abs().max() > 1e-8


def test_unrestricted_top_k_keeps_every_expert() -> None:
    """restrict_to_topk=False: the whole prior, as without top_k."""
    free, open_ = column(top_k=1, restrict_to_topk=False), column()
    free.load_state_dict(open_.state_dict())
    assert torch.equal(free(data())[0], open_(data())[0])
    assert min(gradient_of_experts(free)) > 0
    bound = column(top_k=1)
    bound.load_state_dict(open_.state_dict())
    assert not torch.allclose(bound(data())[0], open_(data())[0])


def test_refinement_off() -> None:
    """whisper_lambda=0: no refiner is there, and the weights are those of a refiner that says nothing."""
    off, on = column(whisper_lambda=0.0), column()
    assert not any(n.startswith("refiner") for n in off.state_dict())
    weights = on.state_dict()
    weights["refiner.k_loc"] = torch.zeros_like(weights["refiner.k_loc"])
    on.load_state_dict(weights)
    off.load_state_dict({k: v for k, v in weights.items() if not k.startswith("refiner")})
    assert_close(off(data())[0], on(data())[0])


def test_centering_moves_all_experts_alike() -> None:
    """Softmax does not see it, with or without a restriction to the best."""
    for top_k in (None, 2):
        centered, raw = column(top_k=top_k), column(top_k=top_k, center_refine=False)
        raw.load_state_dict(centered.state_dict())
        assert_close(raw(data())[0], centered(data())[0])
    text = [(m.folder / "graph.txt").read_text() for m in (centered, raw)]
    assert "center" in text[0] and "center" not in text[1]


FEEDS = [
    (PreUpScaffoldConfig, mLSTMCoreConfig(), True, "%a"),
    (PreUpScaffoldConfig, mLSTMCoreConfig(use_axon_layer=True), True, "%a"),
    (PreUpGatedScaffoldConfig, mLSTMCoreConfig(use_axon_qkv=True), True, "%active"),
    (PreUpGatedScaffoldConfig, mLSTMCoreConfig(use_axon_qkv=True), False, "%a"),
    (PreUpScaffoldConfig, sLSTMCoreConfig(), True, "%active"),
    (PreUpGatedScaffoldConfig, sLSTMCoreConfig(), False, "%a"),
]


@pytest.mark.parametrize(("scaffold", "core", "activate", "expected"), FEEDS)
def test_what_a_preup_feeds_its_core(scaffold: type, core: object, activate: bool, expected: str) -> None:
    """SiLU(a); a itself for an mLSTM without axon QKV, or without activate_cell_input (spec §3)."""
    graph = trace_part(scaffold(core=core, activate_cell_input=activate), "part", H, "sequence")
    (conv,) = (node for node in graph.nodes if node.op == "causal_conv")
    assert conv.inputs[0] == expected

"""AxonLayer as a module: its numbers, its place in the state, its traces. Covers X1-X4, X6, X7."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import cortexc
from cortexc import AxonCoreConfig, AxonLayer, CortexStackConfig, MemoryCore, update_parent_state
from cortexc.config import PassThroughScaffoldConfig, sLSTMCoreConfig

from ..tolerances import assert_close
from .custom_parts import AxonGatedConfig

F64 = torch.float64
B, T, H = 3, 12, 8


def noisy(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return module


def holder() -> TensorDict:
    return TensorDict({}, batch_size=[B])


@pytest.mark.parametrize("width", [8, 12])
def test_equals_the_graphs_layer(width: int) -> None:
    """The module and the layer inside `S^` are one: with the same weights they drive the same gates."""
    torch.manual_seed(0)
    core = cortexc.compile(
        sLSTMCoreConfig(hidden_size=width, num_heads=2, use_axon_layer=True), backend="eager"
    ).double()
    noisy(core)
    layer = AxonLayer(width, 2 * width, name="zo_fused", group="slstm").double()
    weights = core.zo_fused.state_dict()
    assert layer.state_dict().keys() == weights.keys()
    layer.load_state_dict(weights)
    x, state = torch.randn(B, T, width, dtype=F64), holder()
    m = torch.rand(B, T) < 0.2
    layer(x, state=state, resets=m)
    _, after = core(x, resets=m)
    for key, leaf in after["slstm", "zo_fused"].items():
        assert_close(state["slstm", "zo_fused", key], leaf, F64, key)
    # The sum itself, from a Linear and an Axon core computed apart.
    fresh = holder()
    branch = layer.core(x, resets=m)[0]
    assert_close(
        layer(x, state=fresh, resets=m), nn.functional.linear(x, layer.linear.weight, layer.linear.bias) + branch
    )


def test_writes_into_the_parent() -> None:
    """X2: the leaves stand at state[group][name] and the call sets the next ones; other entries stay as they are."""
    layer = AxonLayer(H, 5, name="proj", group="mine").double()
    state = TensorDict({"own": torch.ones(B), "mine": TensorDict({"other": torch.ones(B)}, [B])}, [B])
    x = torch.randn(B, T, H, dtype=F64)
    whole = layer(x, state=holder())
    y = torch.cat([layer(x[:, :5], state=state), layer(x[:, 5], state=state)[:, None], layer(x[:, 6:], state=state)], 1)
    assert y.shape == (B, T, 5)
    assert_close(y, whole)
    assert set(state["mine", "proj"].keys()) == set(layer.init_state(B).keys())
    assert state["own"].sum() == B and state["mine", "other"].sum() == B
    reset = layer.reset_state(torch.tensor([True, False, True]), state=state)
    hc1, before = reset["mine", "proj", "hc1"], state["mine", "proj", "hc1"]
    assert bool((hc1[[0, 2]] == 0).all()) and torch.equal(hc1[1], before[1]) and bool((before != 0).any(-1).all())


def test_update_parent_state() -> None:
    """X3: nested parts that the next state does not have are taken over; tensors and what it has are not."""
    state = TensorDict({"h": torch.zeros(B), "g": {"a": {"k": torch.ones(B)}, "b": {"k": torch.ones(B)}}}, [B])
    after = TensorDict({"g": {"b": {"k": torch.zeros(B)}}}, [B])
    update_parent_state(after, state)
    assert set(after.keys()) == {"g"} and set(after["g"].keys()) == {"a", "b"}
    assert after["g", "a", "k"].sum() == B and after["g", "b", "k"].sum() == 0
    after["g", "a"] = TensorDict({}, [B])
    assert state["g", "a", "k"].sum() == B


class Two(MemoryCore):
    def __init__(self, second: str = "b") -> None:
        super().__init__(hidden_size=H)
        self.a, self.b = AxonLayer(H, H, name="a", group="g"), AxonLayer(H, H, name=second, group="g")

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, TensorDict]:
        y = self.b(torch.tanh(self.a(x, state=state, resets=resets)), state=state, resets=resets)
        after = TensorDict({}, batch_size=[x.shape[0]])
        update_parent_state(after, state)
        return y, after


def test_a_core_finds_its_layers() -> None:
    """The leaves are in init_state from the start; the caller's own state never changes; names must differ."""
    core = Two()
    state = core.init_state(B, device="cpu", dtype=torch.float32)
    assert set(state["g"].keys()) == {"a", "b"} and state["g", "a", "hc1"].shape == (B, H)
    before = state.clone()
    _, after = core(torch.randn(B, T, H), state)
    assert bool((state == before).all()) and bool((after["g", "a", "hc1"] != 0).any())
    assert list(state["g"].keys()) == list(after["g"].keys())
    with pytest.raises(ValueError, match=r"two AxonLayers of Two keep their state at g/a"):
        Two(second="a")(torch.randn(B, H))


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize("lengths", [(5, 7), (1, 1, 10), (4, 4, 4)])
def test_chunked_gradients_are_those_of_the_whole(lengths: tuple[int, ...], detached: bool) -> None:
    """X7: the gradients of the traced parameters, summed over chunks, are those of full backpropagation through time,
    whether the state between chunks is detached (traces carry them) or not (autograd does)."""
    torch.manual_seed(1)
    layer = noisy(AxonLayer(H, H, name="a", group="g").double())
    traced = [layer.core.nu_log, layer.core.theta_log, layer.core.w1, layer.core.w2]
    x, weights = torch.randn(B, T, H, dtype=F64), torch.randn(B, T, H, dtype=F64)
    m = torch.rand(B, T) < 0.15
    expected = torch.autograd.grad((layer(x, state=holder(), resets=m) * weights).sum(), traced)

    state, start, losses = holder(), 0, []
    found = [torch.zeros_like(p) for p in traced]
    for n in lengths:
        part = slice(start, start + n)
        loss = (layer(x[:, part], state=state, resets=m[:, part]) * weights[:, part]).sum()
        start += n
        if detached:
            for total, g in zip(found, torch.autograd.grad(loss, traced), strict=True):
                total += g
            state = state.detach()
        losses.append(loss)
    if not detached:
        found = list(torch.autograd.grad(sum(losses), traced))
    for g, e in zip(found, expected, strict=True):
        assert (g - e).abs().max() < 1e-9


def test_traces_reach_through_a_compiled_stack() -> None:
    """The same through a core of a user's in a compiled stack, where states pass the border as flat tuples."""
    torch.manual_seed(1)
    config = CortexStackConfig(d_hidden=H, scaffolds=[PassThroughScaffoldConfig(core=AxonGatedConfig())])
    stack = noisy(cortexc.compile(config, backend="eager", dtype=F64))
    branch = stack.layers[0].core.inner[0].core
    traced = [branch.nu_log, branch.theta_log, branch.w1, branch.w2]
    x, weights = torch.randn(B, T, H, dtype=F64), torch.randn(B, T, H, dtype=F64)
    # What the last layer of the core is driven by must not depend on the cut: no gradient through the first.
    expected = torch.autograd.grad((stack(x)[0] * weights).sum(), traced)
    state, found = None, [torch.zeros_like(p) for p in traced]
    for part in (slice(0, 3), slice(3, 8), slice(8, T)):
        y, state = stack(x[:, part], state)
        for total, g in zip(found, torch.autograd.grad((y * weights[:, part]).sum(), traced), strict=True):
            total += g
        state = state.detach()
    for g, e in zip(found, expected, strict=True):
        assert (g - e).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cfg": AxonCoreConfig(hidden_size=4)}, "hidden_size=4, not 8"),
        ({"cfg": AxonCoreConfig(out_dim=4)}, "out_dim=4, not 8"),
        ({"cfg": AxonCoreConfig(activation="relu")}, "activation='relu', not 'identity'"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"group": ""}, "group is ''"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AxonLayer(8, 8, **options)


def test_needs_a_parent() -> None:
    with pytest.raises(TypeError, match="in a TensorDict of the core around it; state is a NoneType"):
        AxonLayer(8, 8)(torch.zeros(1, 8), state=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an AxonCoreConfig or None"):
        AxonLayer(8, 8, cfg=sLSTMCoreConfig())  # type: ignore[arg-type]

"""Options of core `A`, and the AxonLayer inside `M^`, `S^` and `X^`. Covers C5, X1, X5, X6, X8-X11."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cortexc
from cortexc.cortex_dsl import AxonCoreConfig, XLCoreConfig, mLSTMCoreConfig, sLSTMCoreConfig
from cortexc.kernels.rtu import rtu_traces, rtu_traces_reference

from ...tolerances import assert_close

F64 = torch.float64
H, B, T = 16, 3, 9


def compiled(config: object, **options: object) -> nn.Module:
    return cortexc.compile(config, backend="eager", dtype=F64, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [16, 12])
def test_srht(width: int) -> None:
    """Signs and permutation are buffers, the same in every layer, kept by casts; the map before the recurrence is a
    rotation, so an input that drives c1 alone comes back through the recurrence with its length."""
    cores = [compiled(AxonCoreConfig(hidden_size=width, use_srht=True)) for _ in range(2)]
    buffers = [dict(core.named_buffers()) for core in cores]
    for name in ("srht_signs", "srht_perm"):
        assert torch.equal(buffers[0][name], buffers[1][name]) and name in cores[0].state_dict()
    assert sorted(buffers[0]["srht_perm"].tolist()) == list(range(width))
    assert buffers[0]["srht_signs"].abs().eq(1).all() and len(set(buffers[0]["srht_signs"].tolist())) == 2
    assert "input_proj.weight" not in cores[0].state_dict()
    assert cores[1].bfloat16().srht_perm.dtype == torch.int64
    core = cores[0]
    with torch.no_grad():
        core.nu_log.fill_(0.0)
        core.w1.fill_(1.0)
        core.w2.fill_(0.0)
        _, state = core.step(torch.eye(width, dtype=F64))
    gamma = (1 - torch.exp(torch.tensor(-2.0, dtype=F64))).sqrt()
    assert_close(state["hc1"] @ state["hc1"].T, gamma**2 * torch.eye(width, dtype=F64))


def test_srht_without_permutation() -> None:
    core = compiled(AxonCoreConfig(hidden_size=H, use_srht=True, srht_permute=False))
    assert core.srht_perm.tolist() == list(range(H))


@pytest.mark.parametrize("activation", ["identity", "relu", "silu", "tanh", "gelu", "sigmoid"])
def test_activation_and_out_dim(activation: str) -> None:
    """y = W_out act([c1, c2]) + b, to any width when the core stands alone."""
    core = compiled(AxonCoreConfig(hidden_size=H, out_dim=5, activation=activation))
    y, state = core.step(torch.randn(B, H, dtype=F64))
    act = {"identity": lambda v: v, **{a: getattr(torch, a) for a in ("relu", "tanh", "sigmoid")}}
    act |= {"silu": nn.functional.silu, "gelu": nn.functional.gelu}
    both = act[activation](torch.cat([state["hc1"], state["hc2"]], -1))
    assert_close(y, both @ core.out_proj.weight.T + core.out_proj.bias)


def test_full_rank_is_diagonal_for_diagonal_maps() -> None:
    """With W_c = diag(w) the full-rank unit is the diagonal one, traces included."""
    torch.manual_seed(0)
    plain = compiled(AxonCoreConfig(hidden_size=H))
    full = compiled(AxonCoreConfig(hidden_size=H, use_fullrank_rtu=True))
    weights = plain.state_dict()
    weights |= {f"Wc{i}": torch.diag(weights.pop(f"w{i}")) for i in (1, 2)}
    full.load_state_dict(weights)
    x, m = torch.randn(B, T, H, dtype=F64), torch.rand(B, T) < 0.2
    (y, state), (z, full_state) = plain(x, resets=m), full(x, resets=m)
    assert_close(z, y)
    for name, leaf in state.items():
        other = full_state[name]
        assert_close(other.diagonal(dim1=1, dim2=2) if other.dim() == 3 else other, leaf, F64, name)


@pytest.mark.parametrize("length", [1, 7, 64])
@pytest.mark.parametrize("masked", [False, True])
def test_full_rank_traces(length: int, masked: bool) -> None:
    """The closed form equals the loop, from any traces, and reads nothing before a reset."""
    torch.manual_seed(0)
    u = torch.randn(B, length, H, dtype=F64)
    nu, theta = torch.randn(H, dtype=F64) - 2, torch.randn(H, dtype=F64)
    traces = [torch.randn(B, H, H, dtype=F64) for _ in range(4)]
    segments = None
    if masked:
        m = torch.rand(B, length) < 0.2
        m[0, length // 2] = True
        segments = m.long().cumsum(1)
    expected = rtu_traces_reference(u, nu, theta, *traces, segments)
    for a, e in zip(rtu_traces(u, nu, theta, *traces, segments), expected, strict=True):
        assert_close(a, e)


def silenced(core: nn.Module) -> nn.Module:
    """The core with the recurrent branch of every AxonLayer multiplied by zero: Linear is left."""
    with torch.no_grad():
        for name, p in core.named_parameters():
            if ".core.out_proj." in name:
                p.zero_()
    return core


def compare(plain: nn.Module, axon: nn.Module) -> None:
    x, m = torch.randn(B, T, H, dtype=F64), torch.rand(B, T) < 0.2
    a, b = plain(x, resets=m)[0], axon(x, resets=m)[0]
    assert_close(b, a)


def load(axon: nn.Module, weights: dict[str, Tensor]) -> None:
    assert axon.load_state_dict(weights, strict=False).unexpected_keys == []


def noisy(core: nn.Module) -> dict[str, Tensor]:
    with torch.no_grad():
        for p in core.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return dict(core.state_dict())


def test_mlstm_gates_are_axon_layers() -> None:
    torch.manual_seed(0)
    plain = compiled(mLSTMCoreConfig(hidden_size=H))
    axon = silenced(compiled(mLSTMCoreConfig(hidden_size=H, use_axon_layer=True)))
    assert axon.igate.linear.weight.abs().max() == 0 and axon.fgate.linear.bias.tolist() == [3, 4, 5, 6]
    weights = noisy(plain)
    load(axon, {k.replace("gate.", "gate.linear.") if "gate." in k else k: v for k, v in weights.items()})
    compare(plain, axon)


def test_mlstm_qkv_are_axon_layers() -> None:
    """q = k = SiLU(layer(SiLU(x))), v = layer(x): M^ at x is M at SiLU(x), with v = SiLU(x) given as a bias."""
    torch.manual_seed(0)
    axon = silenced(compiled(mLSTMCoreConfig(hidden_size=H, use_axon_qkv=True, conv1d_kernel_size=0)))
    plain = compiled(mLSTMCoreConfig(hidden_size=H, conv1d_kernel_size=0))
    eye, zero = torch.eye(H, dtype=F64), torch.zeros(H, dtype=F64)
    layers = {f"{n}_layer.linear.{w}": v for n in ("qk", "v") for w, v in (("weight", eye), ("bias", zero))}
    load(axon, noisy(plain) | layers)
    x = torch.randn(B, 1, H, dtype=F64)
    a = nn.functional.silu(x)
    with torch.no_grad():
        for row in range(B):  # one step at a time: a value is a bias
            axon.v_layer.linear.weight.zero_()
            axon.v_layer.linear.bias.copy_(a[row, 0])
            assert_close(axon(x[row : row + 1])[0], plain(a[row : row + 1])[0])


def test_slstm_gates_are_axon_layers() -> None:
    torch.manual_seed(0)
    plain = compiled(sLSTMCoreConfig(hidden_size=H))
    axon = silenced(compiled(sLSTMCoreConfig(hidden_size=H, use_axon_layer=True)))
    weights = noisy(plain)
    for name, gates in (("if_fused", "if"), ("zo_fused", "zo")):
        blocks = [torch.block_diag(*weights.pop(f"{g}gate")) for g in gates]
        weights[f"{name}.linear.weight"] = torch.cat(blocks)
        weights[f"{name}.linear.bias"] = torch.zeros(2 * H, dtype=F64)
    load(axon, weights)
    compare(plain, axon)


@pytest.mark.parametrize("mem_len", [0, 3, 20])
def test_xl_projections_are_axon_layers(mem_len: int) -> None:
    torch.manual_seed(0)
    plain = compiled(XLCoreConfig(hidden_size=H, mem_len=mem_len))
    axon = silenced(compiled(XLCoreConfig(hidden_size=H, mem_len=mem_len, use_axon_qkv=True)))
    swap = {f"{n}_proj.": f"{n}_proj.linear." for n in "qkv"}
    load(
        axon,
        {next((k.replace(a, b) for a, b in swap.items() if k.startswith(a)), k): v for k, v in noisy(plain).items()},
    )
    compare(plain, axon)


def test_axon_layer_is_linear_plus_axon() -> None:
    """X1: the gates of S^ with both branches alive, from a Linear and an Axon core computed apart."""
    torch.manual_seed(0)
    config = AxonCoreConfig(hidden_size=H, out_dim=2 * H, use_srht=True, use_untraced_linear=False)
    branch = compiled(config)
    axon = compiled(sLSTMCoreConfig(hidden_size=H, use_axon_layer=True, conv1d_kernel_size=0))
    other = silenced(compiled(sLSTMCoreConfig(hidden_size=H, use_axon_layer=True, conv1d_kernel_size=0)))
    weights = noisy(axon)
    branch.load_state_dict(
        {k.removeprefix("zo_fused.core."): v for k, v in weights.items() if k.startswith("zo_fused.c")}
    )
    load(other, {k: v for k, v in weights.items() if not k.startswith("zo_fused")})
    x = torch.randn(B, 1, H, dtype=F64)
    pre = x @ weights["zo_fused.linear.weight"].T + weights["zo_fused.linear.bias"] + branch(x)[0]
    with torch.no_grad():  # a constant gate input: the sum as a bias
        other.zo_fused.linear.weight.zero_()
        load(other, {k: v for k, v in weights.items() if k.startswith("if_fused")})
        for row in range(B):
            other.zo_fused.linear.bias.copy_(pre[row, 0])
            assert_close(other(x[row : row + 1])[0], axon(x[row : row + 1])[0])


@pytest.mark.parametrize(("width", "mixer"), [(16, "srht_signs"), (12, "input_proj")])
def test_mixer_follows_the_width(width: int, mixer: str) -> None:
    """cfg=None: SRHT for a power of two, else the learned untraced map. The caret asks for all layers."""
    names = cortexc.compile("S^", d_hidden=width, backend="eager").state_dict()
    assert any(f"zo_fused.core.{mixer}" in n for n in names)
    assert not any("zo_fused" in n for n in cortexc.compile("S", d_hidden=width, backend="eager").state_dict())

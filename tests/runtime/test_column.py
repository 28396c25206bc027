"""The column against its formula, written out here a second time. Covers R2-R5, B12.

The experts are causal convolutions, so that their outputs can be computed with torch.nn.functional.conv1d alone.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import cortexc

from ..tolerances import assert_close
from .contract import DEVICE

WIDTH, ROWS, STEPS = 8, 2, 6
F64 = torch.float64


def column(options: str, backend: str = "eager") -> cortexc.CompiledStack:
    """Three convolution experts with every parameter off its start; no closing norm."""
    torch.manual_seed(4)
    pattern = f"C C(kernel_size=2) C(kernel_size=3){options} with post_norm=false"
    stack = cortexc.compile(pattern, d_hidden=WIDTH, backend=backend, dtype=F64, device=DEVICE)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in stack.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=F64).to(DEVICE))
    return stack


def formula(
    stack: cortexc.CompiledStack,
    x: Tensor,
    *,
    top_k: int | None = None,
    temperature: float = 1.0,
    whisper: float = 0.1,
    scale: float = WIDTH**0.5,
    keys: float = WIDTH**0.5,
    local: float = WIDTH**0.5,
) -> Tensor:
    """spec.md §4, term by term. ``scale``, ``keys`` and ``local`` are what scores of the prior, the mixer and the
    refiner are divided by."""
    p = {name.removeprefix("layers.0."): value for name, value in stack.named_parameters()}
    u = x / torch.sqrt(x.square().mean(-1, keepdim=True) + torch.finfo(F64).eps) * p["boundary_norm.weight"]
    outputs = []
    for e in range(3):
        weight, bias = p[f"experts.{e}.core.conv.weight"], p[f"experts.{e}.core.conv.bias"]
        padded = F.pad(u.transpose(1, 2), (weight.shape[-1] - 1, 0))
        outputs.append(u + F.conv1d(padded, weight, bias, groups=WIDTH).transpose(1, 2))
    delta = torch.stack([y - u for y in outputs], 2)  # [B, T, E, H]
    z = (p["router.keys"] @ p["router.Wk.weight"].T) @ (p["router.Wq.weight"] @ p["router.context"])
    z = z / scale / temperature
    if top_k is not None:
        kept = z.topk(top_k).indices
        z = torch.full_like(z, float("-inf")).scatter(0, kept, z[kept])
    refine = (u @ p["refiner.Wq_tok.weight"].T) @ p["refiner.k_loc"].T / local
    refine = refine - refine.mean(-1, keepdim=True)
    alpha = torch.softmax(torch.log_softmax(z, 0) + whisper * refine, -1)  # [B, T, E]
    query = (u @ p["e_mixer.Wq.weight"].T)[:, :, None] + p["e_mixer.q_bias"]
    scores = query @ (delta @ p["e_mixer.Wk.weight"].T).transpose(-1, -2) / keys
    scores = scores.masked_fill(torch.isinf(z), float("-inf"))
    mixed = torch.softmax(scores, -1) @ (delta @ p["e_mixer.Wv.weight"].T) @ p["e_mixer.out.weight"].T
    r = (alpha[..., None] * (delta + mixed)).sum(2) + (u - x)
    rho = F.gelu(r @ p["head.fc1.weight"].T + p["head.fc1.bias"]) @ p["head.fc2.weight"].T + p["head.fc2.bias"]
    return x + p["alpha_main"] * r + p["alpha_col"] * rho


@pytest.mark.parametrize("backend", ["reference", "eager"])
@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_column_is_its_formula(backend: str, top_k: int | None) -> None:
    """R3, R4, R5: prior, refinement, mixer and ReZero, dense and with the top-k experts only; outputs and gradients."""
    chosen = f", top_k={top_k}" if top_k else ""
    stack = column(f"{{temperature=0.7, whisper_lambda=0.3{chosen}}}", backend)
    x = torch.randn(ROWS, STEPS, WIDTH, dtype=F64, device=DEVICE, requires_grad=True)
    y, _ = stack(x)
    expected = formula(stack, x, top_k=top_k, temperature=0.7, whisper=0.3)
    assert_close(y, expected)
    seed = torch.randn_like(y)
    leaves = [x, *stack.parameters()]
    found = torch.autograd.grad(y, leaves, seed, allow_unused=True)
    wanted = torch.autograd.grad(expected, leaves, seed, allow_unused=True)
    for name, a, b in zip(["x", *(n for n, _ in stack.named_parameters())], found, wanted, strict=True):
        zero = torch.zeros((), dtype=F64, device=DEVICE)
        assert_close(*torch.broadcast_tensors(zero if a is None else a, zero if b is None else b), what=name)


@pytest.mark.parametrize("backend", ["reference", "eager"])
def test_without_the_square_root_scores_are_divided_by_d_key(backend: str) -> None:
    stack = column("{use_sqrt_scale=false}", backend)
    x = torch.randn(ROWS, STEPS, WIDTH, dtype=F64, device=DEVICE)
    y, _ = stack(x)
    assert_close(y, formula(stack, x, scale=WIDTH))
    assert (y - formula(stack, x)).abs().max() > 1e-3


@pytest.mark.parametrize("backend", ["reference", "eager"])
def test_widths_of_keys_and_the_local_temperature(backend: str) -> None:
    """R2: `d_key` of prior and mixer, `d_key_local` and `local_temperature` of the refiner, `alpha_init`."""
    stack = column("{d_key=5, d_key_local=3, local_temperature=0.5, alpha_init=0.25}", backend)
    x = torch.randn(ROWS, STEPS, WIDTH, dtype=F64, device=DEVICE)
    shapes = {n: tuple(p.shape) for n, p in stack.layers[0].named_parameters()}
    assert (shapes["router.Wk.weight"], shapes["e_mixer.Wk.weight"]) == ((5, WIDTH), (5, WIDTH))
    assert shapes["refiner.k_loc"] == (3, 3)
    assert_close(stack(x)[0], formula(stack, x, scale=5**0.5, keys=5**0.5, local=0.5 * 3**0.5))
    fresh = cortexc.compile("C C{alpha_init=0.25}", d_hidden=WIDTH, backend=backend, device=DEVICE)
    assert fresh.layers[0].alpha_main == fresh.layers[0].alpha_col == 0.25


def test_the_router_trains_from_its_start() -> None:
    """A fresh column weighs its experts alike, and the gradient that will change this is alive (spec.md §7)."""
    stack = cortexc.compile("C C L", d_hidden=WIDTH, dtype=F64, backend="eager", device=DEVICE)
    y, _ = stack(torch.randn(ROWS, STEPS, WIDTH, dtype=F64, device=DEVICE))
    y.square().sum().backward()
    assert stack.get_parameter("layers.0.router.context").grad.abs().max() > 0
    assert stack.get_parameter("layers.0.refiner.k_loc").grad.abs().max() > 0


def test_unchosen_experts_keep_time() -> None:
    """R5: an expert outside the top-k adds nothing to the output, and its state advances all the same."""
    stack = column("{top_k=1}")
    x = torch.randn(ROWS, STEPS, WIDTH, dtype=F64, device=DEVICE)
    _, state = stack(x)
    for index, kernel in enumerate((4, 2, 3)):
        window = state["ColumnScaffold_0", f"expert_PassThroughScaffold_{index}", "CausalConv1dCore", "conv"]
        assert window.shape == (ROWS, kernel, WIDTH)
        assert window.abs().min() > 0

"""How parameters start, by the name of the rule in the layout. Ranges and rules: spec, and the papers it names."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

TINY = 1e-12


def _constant(p: Tensor, value: float) -> None:
    p.fill_(value)


def _linear(p: Tensor, fan_in: float) -> None:
    """torch.nn.Linear's own: U(±1/√fan_in) for weight and bias."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    p.uniform_(-bound, bound)


def _uniform(p: Tensor, low: float, high: float) -> None:
    p.uniform_(low, high)


def _normal(p: Tensor, std: float) -> None:
    p.normal_(0.0, std)


def _orthogonal(p: Tensor, gain: float = 1.0) -> None:
    torch.nn.init.orthogonal_(p, gain)


def _linspace(p: Tensor, start: float, end: float) -> None:
    p.copy_(torch.linspace(start, end, p.shape[-1]).expand_as(p))


def _slstm_bias(p: Tensor, heads: float) -> None:
    """``[4, H]``, gates i f z o: the forget gate opens from 3 to 6 over the units of a head, the others start at 0."""
    p.zero_()
    p[1].copy_(torch.linspace(3.0, 6.0, p.shape[1] // int(heads)).repeat(int(heads)))


def _axon_nu(p: Tensor, r_min: float, r_max: float) -> None:
    """ν with r = exp(-exp ν): r² uniform in (r_min², r_max²)."""
    u = torch.rand_like(p)
    p.copy_(torch.log((-0.5 * torch.log(u * (r_max**2 - r_min**2) + r_min**2)).clamp_min(TINY)))


def _axon_theta(p: Tensor, max_phase: float) -> None:
    """log θ with θ uniform in (0, max_phase)."""
    p.copy_(torch.log((max_phase * torch.rand_like(p)).clamp_min(TINY)))


def _srht_signs(p: Tensor, seed: float) -> None:
    """+1 or -1 for each channel, the same for every layer of a width."""
    p.copy_(_srht(p.numel(), int(seed))[0])


def _srht_order(p: Tensor, seed: float, permute: float) -> None:
    """A permutation of the channels, drawn after the signs; their own order without ``permute``."""
    p.copy_(_srht(p.numel(), int(seed))[1] if permute else torch.arange(p.numel()))


def _srht(width: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    signs = torch.empty(width, dtype=torch.float32, device="cpu").bernoulli_(0.5, generator=draw) * 2 - 1
    return signs, torch.randperm(width, generator=draw, device="cpu")


RULES: dict[str, Callable[..., None]] = {
    "constant": _constant,
    "linear": _linear,
    "uniform": _uniform,
    "normal": _normal,
    "orthogonal": _orthogonal,
    "linspace": _linspace,
    "slstm_bias": _slstm_bias,
    "axon_nu": _axon_nu,
    "axon_theta": _axon_theta,
    "srht_signs": _srht_signs,
    "srht_order": _srht_order,
}


def start(p: Tensor, rule: str, args: list[float]) -> None:
    """Fill ``p`` in place by a rule. Draws in float32 at least, so narrow dtypes round the same numbers."""
    with torch.no_grad():
        narrow = p.dtype in (torch.bfloat16, torch.float16)
        wide = torch.empty_like(p, dtype=torch.float32) if narrow else p
        RULES[rule](wide, *args)
        if wide is not p:
            p.copy_(wide)

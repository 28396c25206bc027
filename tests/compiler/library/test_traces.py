"""Eligibility traces (spec §2, Axon): the gradients of separate calls sum to those of one call over everything, to
1e-9, for the parameters that traces cover. Covers X7."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

import cortexc
from cortexc.cortex_dsl import AxonCoreConfig
from cortexc.runtime import CompiledStack

F64 = torch.float64
H, B, T = 8, 3, 13
EXACT = 1e-9
TRACED = ("nu_log", "theta_log", "w1", "w2", "Wc1", "Wc2")
CUTS = {"halves": [6, 7], "uneven": [3, 1, 4, 5], "steps": [1] * T}

AXONS = {
    "diagonal": {},
    "srht": {"use_srht": True},
    "unmixed": {"use_untraced_linear": False, "activation": "silu"},
    "full rank": {"use_fullrank_rtu": True, "use_untraced_linear": False},
    "full rank, mixed": {"use_fullrank_rtu": True, "use_srht": True, "activation": "tanh"},
}


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(B, T, H, dtype=F64), torch.randn(B, T, H, dtype=F64)


def resets(kind: str) -> Tensor | None:
    if kind == "none":
        return None
    m = torch.rand(B, T, generator=torch.Generator().manual_seed(1)) < 0.25
    m[0, 6] = m[1, 5] = True  # at the seam of the halves, and just before it
    m[2] = False
    return m


def gradients(
    core: CompiledStack, names: list[str], lengths: list[int], mask: Tensor | None, detach: str | None = ""
) -> dict[str, Tensor]:
    """Summed over the calls. ``detach`` is a prefix of the state's leaves to cut off between calls; None cuts none."""
    x, weights = data()
    state: TensorDict | None = None
    loss = torch.zeros((), dtype=F64)
    for a, b in pairwise(torch.tensor([0, *lengths]).cumsum(0).tolist()):
        if state is not None and detach is not None:
            state = state.clone()
            for key in list(state.keys(True, True)):
                path = "/".join(key) if isinstance(key, tuple) else key
                if path.startswith(detach):
                    state[key] = state[key].detach()
        y, state = core(x[:, a:b], state, resets=None if mask is None else mask[:, a:b])
        loss = loss + (y * weights[:, a:b]).sum()
    params = dict(core.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss, [params[n] for n in names]), strict=True))


def assert_exact(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, g in expected.items():
        assert g.abs().max() > 1e-4, f"{name}: nothing to compare"
        error = (found[name] - g).abs().max().item()
        assert error <= EXACT, f"{name}: off by {error:.1e}"


@pytest.mark.parametrize("options", AXONS.values(), ids=AXONS)
@pytest.mark.parametrize("backend", ["reference", "eager"])
@pytest.mark.parametrize("kind", ["none", "random"])
def test_axon(options: dict[str, object], backend: str, kind: str) -> None:
    """Detached or attached; each parameter that has a trace."""
    torch.manual_seed(0)
    core = cortexc.compile(AxonCoreConfig(hidden_size=H, **options), backend=backend, dtype=F64)
    names = [n for n, _ in core.named_parameters() if n in TRACED]
    assert len(names) == 4
    whole = gradients(core, names, [T], resets(kind))
    for lengths in CUTS.values():
        assert_exact(gradients(core, names, lengths, resets(kind)), whole)
        assert_exact(gradients(core, names, lengths, resets(kind), detach=None), whole)


def test_traces_are_what_makes_it_exact() -> None:
    """Without them the same sum is far off, and so is input_proj, which has none."""
    torch.manual_seed(0)
    core = cortexc.compile(AxonCoreConfig(hidden_size=H, use_fullrank_rtu=True), backend="eager", dtype=F64)
    x, weights = data()
    names = ["Wc1", "nu_log", "input_proj.weight"]
    params = [core.get_parameter(n) for n in names]
    whole = torch.autograd.grad((core(x)[0] * weights).sum(), params)

    def halves(*, keep: bool) -> tuple[Tensor, ...]:
        y, state = core(x[:, :6])
        state = TensorDict(
            {k: v.detach() if keep or k[0] == "h" else torch.zeros_like(v) for k, v in state.items()}, batch_size=[B]
        )
        z, _ = core(x[:, 6:], state)
        return torch.autograd.grad((y * weights[:, :6]).sum() + (z * weights[:, 6:]).sum(), params)

    with_traces, without = halves(keep=True), halves(keep=False)
    errors = [[(a - b).abs().max().item() for a, b in zip(g, whole, strict=True)] for g in (with_traces, without)]
    assert max(errors[0][:2]) <= EXACT < 1e-3 < min(errors[1][:2])
    assert errors[0][2] > 1e-3


# The layers inside other cores: the layer's own state cut off, everything around it attached.
INSIDE = [
    ("M^", "mlstm/igate", "igate"),
    ("M^", "mlstm/fgate", "fgate"),
    ("M^", "mlstm_qkv/qk", "qk_layer"),
    ("M^", "mlstm_qkv/v", "v_layer"),
    ("S^", "slstm/if_fused", "if_fused"),
    ("S^", "slstm/zo_fused", "zo_fused"),
    # What attention remembers is cut between calls by contract: only the query's layer, and values at no distance.
    ("X^(mem_len=4)", "xl_qkv/q", "q_proj"),
    ("X^(mem_len=0)", "xl_qkv/v", "v_proj"),
]


@pytest.mark.parametrize(("pattern", "state", "scope"), INSIDE, ids=[f"{p}-{s}" for p, _, s in INSIDE])
@pytest.mark.parametrize("kind", ["none", "random"])
def test_inside_other_cores(pattern: str, state: str, scope: str, kind: str) -> None:
    torch.manual_seed(0)
    config = cortexc.parse(pattern, d_hidden=H).scaffolds[0].experts[0].core
    core = cortexc.compile(config, d_hidden=H, backend="eager", dtype=F64)
    with torch.no_grad():
        for p in core.parameters():  # gates that start at 0 would hide what stands before them
            p.add_(0.2 * torch.randn_like(p))
    names = [n for n, _ in core.named_parameters() if n.startswith(f"{scope}.core.") and n.split(".")[-1] in TRACED]
    assert len(names) == 4
    whole = gradients(core, names, [T], resets(kind), detach=None)
    for lengths in CUTS.values():
        assert_exact(gradients(core, names, lengths, resets(kind), detach=state), whole)

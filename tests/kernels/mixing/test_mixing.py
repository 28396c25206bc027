"""Weights over the experts: against the equations of the column, written out with loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from cortexc.kernels import column_mix, mask_experts, prior, softmax

from ...tolerances import assert_close

E, H = 3, 6


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_hand(x: Tensor, u: Tensor, query: Tensor, offset: Tensor, logits: Tensor, outs: list[Tensor], scale: float):
    """One token at a time, one expert at a time."""
    main, mixed = torch.zeros_like(x), torch.zeros_like(x)
    for place in itertools.product(*map(range, x.shape[:-1])):
        deltas = [o[place] - u[place] for o in outs]
        alpha = torch.exp(logits[place]) / torch.exp(logits[place]).sum()
        allowed = [e for e in range(len(outs)) if logits[place][e] > -torch.inf]
        for e in allowed:
            scores = torch.stack([((query[place] + offset[e]) * deltas[f]).sum() * scale for f in allowed])
            attention = torch.exp(scores) / torch.exp(scores).sum()
            main[place] = main[place] + alpha[e] * deltas[e]
            for f, a in zip(allowed, attention, strict=True):
                mixed[place] = mixed[place] + alpha[e] * a * deltas[f]
    return main + (u - x), mixed


@pytest.mark.parametrize("lead", [(2,), (2, 3)], ids=["step", "sequence"])
@pytest.mark.parametrize("masked", [False, True])
def test_column_mix(lead: tuple[int, ...], masked: bool) -> None:
    x, u, query, *outs = (draw(*lead, H, seed=i).requires_grad_() for i in range(3 + E))
    offset, logits = draw(E, H, seed=8).requires_grad_(), draw(*lead, E, seed=9)
    if masked:
        logits[0, ..., 1] = -torch.inf
    logits.requires_grad_()
    found = column_mix(x, u, query, offset, logits, tuple(outs), 0.3, sparse=masked)
    expected = by_hand(x, u, query, offset, logits, outs, 0.3)
    leaves = [x, u, query, offset, *outs]
    weights = [draw(*lead, H, seed=20 + i) for i in range(2)]
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)
    for a, b in zip(
        torch.autograd.grad(found, leaves, weights), torch.autograd.grad(expected, leaves, weights), strict=True
    ):
        assert_close(a, b)


def test_column_mix_computes_its_weights_in_float32() -> None:
    lead = (2, 3)
    exact = [draw(*lead, H, seed=i) for i in range(3 + E)]
    offset, logits = draw(E, H, seed=8), draw(*lead, E, seed=9)
    x, u, query, *outs = (t.bfloat16() for t in exact)
    found = column_mix(x, u, query, offset.bfloat16(), logits.bfloat16(), tuple(outs), 0.3)
    expected = column_mix(*exact[:3], offset, logits, tuple(exact[3:]), 0.3)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.bfloat16
        assert ((a.double() - b).norm() / b.norm()).item() < 4e-2


def test_prior_is_a_log_softmax_over_the_chosen() -> None:
    scores = torch.tensor([0.5, 2.0, 1.0, 2.0], dtype=torch.float64)
    assert_close(prior(scores, None), torch.log_softmax(scores, -1))
    assert_close(prior(scores, 4), torch.log_softmax(scores, -1))
    two = prior(scores, 2)
    assert torch.isinf(two[[0, 2]]).all() and two[1] == two[3]
    assert_close(two[[1, 3]].exp().sum(), torch.tensor(1.0, dtype=torch.float64))


def test_prior_breaks_ties_by_the_lower_index() -> None:
    assert torch.isfinite(prior(torch.zeros(5), 2)).tolist() == [True, True, False, False, False]


def test_prior_gives_gradients_to_the_chosen_alone() -> None:
    scores = torch.tensor([0.5, 2.0, 1.0, 2.0], requires_grad=True)
    (g,) = torch.autograd.grad(prior(scores, 3)[1], scores)
    assert g[0] == 0 and (g[1:] != 0).all() and torch.isfinite(g).all()


def test_masked_experts_are_out_of_every_row() -> None:
    scores, logits = draw(2, E, E), torch.zeros(2, E)
    logits[1, 2] = -torch.inf
    masked = mask_experts(scores, logits)
    assert torch.equal(masked[0], scores[0])
    assert torch.isinf(masked[1, :, 2]).all() and torch.equal(masked[1, :, :2], scores[1, :, :2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_softmax_keeps_the_dtype_and_computes_wider(dtype: torch.dtype) -> None:
    x = (10 * draw(4, 50)).to(dtype)
    found = softmax(x)
    assert found.dtype == dtype
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert torch.equal(found, torch.softmax(x.to(wide), -1).to(dtype))

"""Dropout against Python's integers and against what a good mask is; and the ops that apply it themselves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cortexc.kernels import (
    dropout,
    dropout_factors,
    dropout_factors_reference,
    dropout_keys,
    dropout_keys_reference,
    dropout_keys_step,
    dropout_reference,
    routed_weight,
    segment_ids,
    xl_attention,
    xl_attention_reference,
    xl_attention_step,
    xl_step,
)
from cortexc.kernels.dropout import births, ended, is_birth
from cortexc.kernels.dropout.reference import GOLDEN, splitmix64
from cortexc.kernels.dropout.splitmix import mix, signed

from ..tolerances import assert_close

F64 = torch.float64
ROWS, STEPS = 3, 9
SITE = 0xDEADBEEF


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + len(shape)), dtype=F64)


def counters() -> Tensor:
    """A fresh row, one within its first episode, one that was reset after its second."""
    return births(ROWS, 0, 3, "cpu") + torch.tensor([0, 1, 4])


def masks() -> list[Tensor | None]:
    random = torch.rand(ROWS, STEPS, generator=torch.Generator().manual_seed(1)) < 0.4
    every = torch.ones(ROWS, STEPS, dtype=torch.bool)
    first = torch.arange(STEPS).expand(ROWS, -1) == 0
    return [None, random, random | first, every, ~every]


def test_numbers_are_those_of_splitmix64() -> None:
    """The published first numbers for the start 1234567; tensors and integers agree, also where products overflow."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [splitmix64(1234567 + (n + 1) * GOLDEN) for n in range(4)] == published
    words = [0, 1, -1, 2**63 - 1, -(2**63), *draw(50).mul(2**62).long().tolist()]
    assert mix(torch.tensor(words)).tolist() == [signed(splitmix64(w)) for w in words]


@pytest.mark.parametrize("resets", masks())
def test_keys_follow_the_episodes(resets: Tensor | None) -> None:
    """Sequence, steps and cuts against the machine; equal keys where and only where row and episode are the same."""
    counter = counters()
    keys, after = dropout_keys(counter, segment_ids(resets))
    expected, last = dropout_keys_reference(counter, segment_ids(resets))
    assert torch.equal(keys, expected) and torch.equal(after, last)
    keys = keys if keys.dim() == 2 else keys[:, None].expand(-1, STEPS)
    stepped, state = [], counter
    for t in range(STEPS):
        key, state = dropout_keys_step(state, None if resets is None else resets[:, t])
        stepped.append(key)
    assert torch.equal(torch.stack(stepped, 1), keys) and torch.equal(state, after)
    for b in range(ROWS):
        for t in range(1, STEPS):
            assert (keys[b, t] == keys[b, t - 1]) == (resets is None or not resets[b, t])
    rows = [set(row.tolist()) for row in keys]
    assert not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])


def test_a_reset_ends_only_what_has_begun() -> None:
    fresh = counters()[:1]
    assert torch.equal(ended(fresh), fresh)
    key, begun = dropout_keys_step(fresh)
    assert torch.equal(key, fresh) and not torch.equal(ended(begun), fresh)
    assert torch.equal(ended(ended(begun)), ended(begun))
    assert torch.equal(dropout_keys_step(begun, torch.tensor([True]))[0], ended(begun))


@pytest.mark.parametrize("middle", [(), (STEPS,), (STEPS, 2), (STEPS + 4,)], ids=str)
@pytest.mark.parametrize("resets", [False, True])
def test_is_the_reference(middle: tuple[int, ...], resets: bool) -> None:
    """Values and gradients, for steps, sequences, a further axis, and remembered steps in front."""
    x = draw(ROWS, *middle, 6).requires_grad_()
    segments = segment_ids(masks()[1]) if resets and middle else None
    key, _ = dropout_keys(counters(), segments)
    found, expected = (f(x, key, 0.4, SITE, True) for f in (dropout, dropout_reference))
    assert_close(found, expected)
    assert (found == 0).any() and (found != 0).any()
    seed = draw(*found.shape, seed=1)
    (got,), (wanted,) = (torch.autograd.grad(y, x, seed) for y in (found, expected))
    assert_close(got, wanted)
    assert torch.equal(got == 0, found == 0)  # what was dropped learns nothing, and all the rest does
    assert dropout(x, key, 0.4, SITE, False) is x and dropout_reference(x, key, 0.4, SITE, False) is x


@pytest.mark.parametrize("first", [False, True])
def test_factors_are_what_dropout_multiplies_by(first: bool) -> None:
    key, _ = dropout_keys(counters(), segment_ids(masks()[1]))
    like = draw(1)
    found, expected = (
        f(key, like, (2, 3), 0.3, SITE, True, first) for f in (dropout_factors, dropout_factors_reference)
    )
    assert found is not None and expected is not None
    assert_close(found, expected)
    ones = dropout(torch.ones(ROWS, STEPS, 6, dtype=F64), key, 0.3, SITE, True).unflatten(-1, (2, 3))
    assert_close(found, ones[:, 0] if first else ones)
    assert dropout_factors(key, like, (2, 3), 0.3, SITE, False) is None
    assert dropout_factors(key, like.half(), (6,), 0.3, SITE, True).dtype == torch.float32  # type: ignore[union-attr]


@pytest.mark.long
@pytest.mark.parametrize("channels", [8, 24, 40])
def test_the_same_masks_under_torch_compile(channels: int) -> None:
    """Products that overflow are no index arithmetic, whose overflow a C++ compiler may do with as it likes."""
    x, key = torch.ones(ROWS, channels), counters() & ~1
    compiled = torch.compile(lambda x, key: dropout(x, key, 0.4, SITE, True), dynamic=False)
    assert torch.equal(compiled(x, key), dropout(x, key, 0.4, SITE, True))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_masks_are_random(p: float) -> None:
    """The share of kept units, and no two rows, episodes, sites or channels that know of each other: within five
    standard errors of what independent coins give."""
    rows, channels = 400, 100
    counter = births(rows, 0, 5, "cpu")

    def kept(key: Tensor, site: int = SITE) -> Tensor:
        return (dropout(torch.ones(rows, channels), key, p, site, True) != 0).double()

    first = kept(counter)
    n = rows * channels
    assert abs(first.mean().item() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / n)
    others = [
        kept(counter + 2),
        kept(counter, SITE + 1),
        kept(births(rows, 1, 5, "cpu")),
        first.roll(1, 0),
        first.roll(1, 1),
    ]
    for other in others:
        together = ((first - (1 - p)) * (other - (1 - p))).mean().item() / (p * (1 - p))
        assert abs(together) < 5 / math.sqrt(n)


def test_births() -> None:
    """Rows, leaves and seeds have births of their own, which a seed fixes; without one torch's generator draws them."""
    seeded = births(100, 0, 7, "cpu")
    assert torch.equal(seeded, births(100, 0, 7, "cpu")) and torch.equal(seeded[:10], births(10, 0, 7, "cpu"))
    drawn = [seeded, births(100, 1, 7, "cpu"), births(100, 0, -8, "cpu")]
    torch.manual_seed(1)
    drawn += [births(100, 0, None, "cpu"), births(100, 0, None, "cpu")]
    torch.manual_seed(1)
    assert torch.equal(drawn[3], births(100, 0, None, "cpu"))
    assert torch.cat(drawn).unique().numel() == 500
    assert all(is_birth(b) and (b >= 0).all() and (b & (2**32 - 1) == 0).all() for b in drawn)
    assert not is_birth(torch.zeros(2, dtype=torch.int64)) and not is_birth(seeded | 1)


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(("steps", "slots"), [(9, 3), (150, 3), (9, 0)])
def test_attention_weights(steps: int, slots: int, resets: bool) -> None:
    """Dropped by head and distance: blocks and steps against the loop."""
    heads, width = 2, 4
    q, k, v = (draw(ROWS, n, heads, width, seed=n) for n in (steps, slots + steps, slots + steps))
    rel, u, bias = draw(slots + 1, heads, width), draw(heads, width), draw(heads, width, seed=1)
    fill = torch.tensor([0, slots // 2, slots])
    mask = torch.rand(ROWS, steps, generator=torch.Generator().manual_seed(2)) < 0.2
    segments = segment_ids(mask) if resets else None
    key, _ = dropout_keys(counters(), segments)
    drop = dropout_factors(key, q, (heads, slots + 1), 0.4, SITE, True)
    operands = (q, k, v, rel, u, bias, fill, segments)
    found = xl_attention(*operands, drop)
    assert_close(found, xl_attention_reference(*operands, drop))
    assert (found - xl_attention(*operands)).abs().max() > 1e-3
    first = drop if drop is None or drop.dim() == 3 else drop[:, 0]
    window = (k[:, : slots + 1], v[:, : slots + 1])
    resets_now = mask[:, 0] if resets else None
    assert_close(xl_attention_step(q[:, 0], *window, rel, u, bias, fill, resets_now, first), found[:, 0])


def test_a_step_over_the_raw_memory_drops_biases_too() -> None:
    """W_v (Σ a m) + b_v holds for weights that sum to one; dropped ones do not."""
    heads, width, slots, model = 2, 3, 4, 6
    x, mem, q = draw(ROWS, model), draw(ROWS, slots, model), draw(ROWS, heads, width)
    wk, wv = draw(heads * width, model, seed=1), draw(heads * width, model, seed=2)
    bk, bv = draw(heads * width, seed=3), draw(heads * width, seed=4)
    wr, positions = draw(heads * width, model, seed=6), draw(slots + 1, model, seed=5)
    rel, u, bias = (positions @ wr.T).unflatten(-1, (heads, width)), draw(heads, width), draw(heads, width, seed=1)
    fill = torch.tensor([4, 4, 4])
    drop = dropout_factors(counters() & ~1, q, (heads, slots + 1), 0.4, SITE, True)
    context = torch.cat([mem, x[:, None]], 1)
    k, v = ((context @ w.T + b).unflatten(-1, (heads, width)) for w, b in ((wk, bk), (wv, bv)))
    found = xl_step(x, q, mem, fill, wk, bk, wv, bv, wr, positions, u, bias, None, drop)
    assert_close(found, xl_attention_step(q, k, v, rel, u, bias, fill, None, drop))


def test_a_weight_with_its_adapter_drops_the_adapters_input() -> None:
    w, down, up = draw(5, 4), draw(3, 2, 4), draw(3, 5, 2)
    routes, x = torch.tensor([2, 0, 2]), draw(ROWS, 4)
    key = counters() & ~1
    drop = dropout_factors(key, w, (4,), 0.5, SITE, True)
    merged = routed_weight(w, down, up, routes, 0.5, None, drop)
    low = torch.einsum("bri,bi->br", down[routes], dropout(x, key, 0.5, SITE, True))
    assert_close(torch.einsum("boi,bi->bo", merged, x), x @ w.T + 0.5 * torch.einsum("bor,br->bo", up[routes], low))

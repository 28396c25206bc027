"""Ops that may write to the state do, and give what they give otherwise; ops that may not do not."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor

from cortexc.kernels import mlstm_step, overwriting, xl_memory_step

from ..tolerances import assert_close

ROWS, HEADS, WIDTH, SLOTS = 5, 2, 3, 4


def memory(resets: Tensor | None) -> tuple[Callable[..., tuple[Tensor, ...]], Tensor]:
    mem, fill = torch.randn(ROWS, SLOTS, WIDTH).double(), torch.tensor([0, 1, 2, 4, 4])
    mem[torch.arange(SLOTS) < SLOTS - fill[:, None]] = 0  # what is not real
    x = torch.randn(ROWS, WIDTH).double()
    return lambda leaf: xl_memory_step(x, leaf, fill, resets), mem


def matrix(resets: Tensor | None) -> tuple[Callable[..., tuple[Tensor, ...]], Tensor]:
    q, k, v = (torch.randn(ROWS, HEADS, WIDTH).double() for _ in range(3))
    i, f = (torch.randn(ROWS, HEADS).double() for _ in range(2))
    c = torch.randn(ROWS, HEADS, WIDTH, WIDTH).double()
    n, m = torch.randn(ROWS, HEADS, WIDTH, 1).double(), torch.randn(ROWS, HEADS, 1, 1).double()

    def call(leaf: Tensor) -> tuple[Tensor, ...]:
        h, c_after, *others = mlstm_step(q, k, v, i, f, leaf, n, m, resets)
        return (c_after, h, *others)

    return call, c


@pytest.fixture(params=[matrix, memory])
def op(request: pytest.FixtureRequest) -> Callable[..., tuple[Callable[..., tuple[Tensor, ...]], Tensor]]:
    return request.param


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("cache", [1, 300, 1 << 20])  # bytes: a row at a time, a few, all
@torch.no_grad()
def test_in_place_is_the_same(op, masked: bool, cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mlstm", "xl"):
        monkeypatch.setattr(import_module(f"cortexc.kernels.{module}.step"), "CACHE", cache)
    resets = torch.arange(ROWS) % 2 == 1 if masked else None
    call, leaf = op(resets)
    if resets is not None:
        leaf[resets] = float("nan")  # what is reset is not seen
    kept = leaf.clone()
    wanted = call(leaf)
    assert torch.equal(leaf, kept) or masked
    assert wanted[0] is not leaf
    with overwriting([leaf]):
        found = call(leaf)
    assert found[0] is leaf
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b)


@torch.no_grad()
def test_only_the_leaves_that_were_given(op) -> None:
    call, leaf = op(None)
    other, kept = leaf.clone(), leaf.clone()
    with overwriting([other]):
        call(leaf)
    call(other)  # and no longer than they were given
    assert torch.equal(leaf, kept)
    assert torch.equal(other, kept)


def test_not_under_autograd(op) -> None:
    call, leaf = op(None)
    kept = leaf.clone()
    with overwriting([leaf]):
        call(leaf)
    assert torch.equal(leaf, kept)

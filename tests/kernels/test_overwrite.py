"""Ops that may write to the state do, and give what they give otherwise; ops that may not do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cortexc.kernels import mlstm_step, overwrite, overwriting, xl_memory_step

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
    monkeypatch.setattr(overwrite, "CACHE", cache)
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
    assert found[0] is leaf or op is memory
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


@torch.no_grad()
def test_a_memory_slides_along_its_buffer() -> None:
    """It moves once in as many steps as it has slots, and nothing that it is a window of is taken for its buffer."""
    steps = 3 * SLOTS
    xs, fill = torch.randn(steps, ROWS, WIDTH).double(), torch.zeros(ROWS, dtype=torch.int64)
    around = torch.randn(ROWS + 1, 3 * SLOTS, WIDTH).double()
    around[1:, SLOTS : 2 * SLOTS] = 0
    kept, mem = around.clone(), around[1:, SLOTS : 2 * SLOTS]
    expected, expected_fill, held = mem.clone(), fill, []
    for x in xs:
        expected, expected_fill = xl_memory_step(x, expected, expected_fill)
        with overwriting([mem]):
            mem, fill = xl_memory_step(x, mem, fill)
        assert torch.equal(mem, expected)
        assert torch.equal(fill, expected_fill)
        held.append(mem)
    assert torch.equal(around, kept)
    assert len({mem.untyped_storage().data_ptr() for mem in held}) == steps // SLOTS

"""The layout of states: flat inside, nested outside, and the same thing."""

from __future__ import annotations

import torch

from cortexc.runtime.state import StateLayout

STATES = [
    {"path": ["L_0", "Core", "c"], "shape": [4], "dtype": "acc", "start": 0},
    {"path": ["L_0", "Core", "n"], "shape": [], "dtype": "i64", "start": 3},
    {"path": ["L_0", "conv"], "shape": [2, 4], "dtype": "f", "start": 0},
    {"path": ["L_1", "Core", "c"], "shape": [4], "dtype": "acc", "start": 1},
]
CPU = torch.device("cpu")


def test_starts_and_dtypes() -> None:
    layout = StateLayout(STATES)
    for dtype, accumulator in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        c, n, conv, second = layout.initial(2, CPU, dtype)
        assert (c.dtype, n.dtype, conv.dtype) == (accumulator, torch.int64, dtype)
        assert (tuple(c.shape), tuple(n.shape), tuple(conv.shape)) == ((2, 4), (2,), (2, 2, 4))
        assert (c == 0).all() and (n == 3).all() and (second == 1).all()


def test_pack_and_unpack_are_inverses_and_copy_nothing() -> None:
    layout = StateLayout(STATES)
    leaves = tuple(
        torch.rand_like(t) if t.is_floating_point() else t + 1 for t in layout.initial(2, CPU, torch.float32)
    )
    packed = layout.pack(leaves, 2)
    assert packed.batch_size == torch.Size([2]) and packed["L_0"].batch_size == torch.Size([2])
    assert packed["L_0", "Core", "c"] is leaves[0] and packed["L_1", "Core", "c"] is leaves[3]
    assert all(a is b for a, b in zip(layout.unpack(packed, 2, CPU, torch.float32), leaves, strict=True))


def test_the_order_of_keys_does_not_matter() -> None:
    layout = StateLayout(STATES)
    leaves = layout.initial(2, CPU, torch.float32)
    backwards = StateLayout(STATES[::-1]).pack(leaves[::-1], 2)
    assert all(a is b for a, b in zip(layout.unpack(backwards, 2, CPU, torch.float32), leaves, strict=True))


def test_reset_gives_rows_their_start_and_keeps_the_rest() -> None:
    layout = StateLayout(STATES)
    leaves = tuple(torch.full_like(t, 7) for t in layout.initial(2, CPU, torch.float32))
    leaves[0][0] = float("nan")
    after = layout.reset(leaves, torch.tensor([True, False]))
    for leaf, start, old in zip(after, (0, 3, 0, 1), leaves, strict=True):
        assert (leaf[0] == start).all() and (leaf[1] == 7).all() and leaf.dtype == old.dtype
    assert torch.isnan(leaves[0][0]).all()


def test_compute_leaves_may_come_in_any_float() -> None:
    """A state made under autocast goes on in float32; accumulators and counters are exact about their dtype."""
    layout = StateLayout(STATES)
    leaves = list(layout.initial(2, CPU, torch.float32))
    leaves[2] = leaves[2].bfloat16()
    assert layout.unpack(layout.pack(tuple(leaves), 2), 2, CPU, torch.float32)[2].dtype == torch.bfloat16

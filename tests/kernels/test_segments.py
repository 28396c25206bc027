"""Segment ids and what is built on them."""

from __future__ import annotations

import torch

from cortexc.kernels.segments import finite_rows, reset_state, segment_ids, segment_starts, tainted

MASK = torch.tensor([[False, True, False, True, True], [True, False, False, False, False]])


def test_ids_and_starts() -> None:
    segments = segment_ids(MASK)
    assert segments.tolist() == [[0, 1, 1, 2, 3], [1, 1, 1, 1, 1]]
    assert segments.dtype == torch.int64
    assert segment_starts(segments).tolist() == [[0, 1, 1, 3, 4], [0, 0, 0, 0, 0]]
    assert segment_ids(None) is None


def test_reset_selects() -> None:
    state = torch.full((2, 3), float("nan"))
    after = reset_state(state, torch.tensor([True, False]))
    assert (after[0] == 0).all()
    assert after[1].isnan().all()
    assert reset_state(state, None) is state


def test_bad_rows() -> None:
    x = torch.tensor([[1.0, float("inf")], [2.0, 3.0], [float("nan"), 4.0], [1e38, 3e38]])
    clean, bad = finite_rows(x)
    assert bad.tolist() == [True, False, True, False]
    assert clean[:3].tolist() == [[1, 0], [2, 3], [0, 4]]


def test_tainted_sees_from_first_to_now() -> None:
    bad = torch.tensor([[False, True, False, False, False]])
    assert tainted(bad, torch.tensor([[0, 0, 1, 2, 0]])).tolist() == [[False, True, True, False, True]]

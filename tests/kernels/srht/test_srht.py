"""The randomised Hadamard transform is the dense one, and a rotation for every width."""

from __future__ import annotations

import pytest
import torch

from cortexc.kernels import srht, srht_reference

from ...tolerances import assert_close

WIDTHS = [1, 2, 3, 4, 5, 8, 12, 31, 64, 100, 512, 1000]


@pytest.mark.parametrize("width", WIDTHS)
def test_matches_dense(width: int) -> None:
    x = torch.randn(2, 3, width, dtype=torch.float64)
    permutation, signs = torch.randperm(width), torch.randint(0, 2, (width,)) * 2 - 1
    assert_close(srht(x, permutation, signs), srht_reference(x, permutation, signs))
    assert_close(srht(x.float(), permutation, signs), srht_reference(x, permutation, signs), torch.float32)


@pytest.mark.parametrize("width", WIDTHS)
def test_is_orthogonal(width: int) -> None:
    permutation, signs = torch.randperm(width), torch.randint(0, 2, (width,)) * 2 - 1
    matrix = srht(torch.eye(width, dtype=torch.float64), permutation, signs)
    assert_close(matrix @ matrix.T, torch.eye(width, dtype=torch.float64))


def test_every_input_reaches_every_output_of_a_power_of_two() -> None:
    matrix = srht(torch.eye(16, dtype=torch.float64), torch.randperm(16), torch.ones(16))
    assert_close(matrix.abs(), torch.full((16, 16), 0.25, dtype=torch.float64))

"""The mLSTM against the xLSTM of Hugging Face's transformers: an implementation of the same paper by others."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch

from cortexc.kernels import mlstm, mlstm_step

from ..tolerances import assert_close

pytestmark = pytest.mark.peers


@pytest.fixture(scope="session")
def xlstm() -> ModuleType:
    try:
        return importlib.import_module("transformers.models.xlstm.modeling_xlstm")
    except ImportError as problem:
        raise RuntimeError("transformers is needed: pip install transformers") from problem


@pytest.mark.parametrize("steps", [1, 37, 64, 130])
@pytest.mark.parametrize("fresh", [True, False])
def test_mlstm(steps: int, fresh: bool, xlstm: ModuleType) -> None:
    """Outputs and final state, fresh and from a state on; it scales q by 1/√D where we scale k, so its C and n are √D
    times ours."""
    rows, heads, width = 2, 3, 8
    draw = torch.Generator().manual_seed(steps)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(rows, *shape, generator=draw, dtype=torch.float64)

    q, k, v = (normal(steps, heads, width) for _ in range(3))
    i, f = 3 * normal(steps, heads), 3 + 2 * normal(steps, heads)
    c, n, m = normal(heads, width, width), normal(heads, width, 1), normal(heads, 1, 1)
    if fresh:
        c, n, m = torch.zeros_like(c), torch.zeros_like(n), torch.zeros_like(m)
    scale = width**0.5
    h, (theirs_c, theirs_n, theirs_m) = xlstm.mlstm_recurrent_sequence_native(
        *(t.transpose(1, 2) for t in (q, k, v, i, f)),
        c_initial=scale * c,
        n_initial=scale * n[..., 0],
        m_initial=m[..., 0],
        return_last_states=True,
        eps=1e-6,
        dtype_state=torch.float64,
    )
    expected = (h.transpose(1, 2), theirs_c / scale, theirs_n[..., None] / scale, theirs_m[..., None])
    for found, wanted, name in zip(mlstm(q, k, v, i, f, c, n, m, chunk_size=16), expected, "hcnm", strict=True):
        assert_close(found, wanted, what=name)
    found = mlstm_step(q[:, 0], k[:, 0], v[:, 0], i[:, 0], f[:, 0], c, n, m)[0]
    assert_close(found, expected[0][:, 0], what="step")

"""What every test needs: kernels that run anywhere, no cache outside of the test run, and no leftover randomness."""

from __future__ import annotations

import os
import tempfile

import pytest

# Triton reads this once, when it is imported: without a GPU its interpreter runs the kernels on the CPU.
if not os.environ.get("CORTEXC_TEST_GPU"):
    os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("CORTEXC_CACHE_DIR", tempfile.mkdtemp(prefix="cortexc-tests-"))
os.environ.setdefault("CORTEXC_VERIFY", "1")


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Tests that draw random numbers draw the same ones, whatever ran before, and float32 is float32 on a GPU too."""
    import torch

    torch.backends.cudnn.allow_tf32 = False  # as for matrix products, where it is torch's default
    torch.manual_seed(0)

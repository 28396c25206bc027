"""Settings for all tests of kernels."""

from __future__ import annotations

import torch

# The tensors are tiny: a second thread would only wait, and wait badly where tests run side by side.
torch.set_num_threads(1)

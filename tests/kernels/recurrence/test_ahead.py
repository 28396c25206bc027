"""Every generated kernel compiles to machine code for NVIDIA and AMD on a machine without either."""

from __future__ import annotations

import pytest

from ..ahead import TARGETS, compile_ahead

FORMS = ["slstm", "gru", "axon", "leaky", "minlstm", "window3", "agalite_r2", "shared"]  # of kernels


@pytest.mark.parametrize("cell", FORMS)
@pytest.mark.parametrize("target", TARGETS)
def test_compiles(cell, modules, target):
    compile_ahead(modules[cell].__file__, target, len(modules[cell].KERNELS))

"""Every generated kernel compiles to machine code for NVIDIA and AMD on a machine without either."""

from __future__ import annotations

import pytest

from ..ahead import TARGETS, compile_ahead

FORMS = ["slstm", "gru", "axon", "leaky", "minlstm", "window3", "agalite_r2", "shared"]  # of kernels
EVERYWHERE = {"slstm", "axon", "agalite_r2"}  # the quick tier compiles the others for one target


def cases():
    for cell in FORMS:
        for target in TARGETS:
            quick = cell in EVERYWHERE or target == "cuda90"
            yield pytest.param(cell, target, marks=() if quick else pytest.mark.long)


@pytest.mark.parametrize(("cell", "target"), cases())
def test_compiles(cell, target, modules):
    compile_ahead(modules[cell].__file__, target, len(modules[cell].KERNELS))

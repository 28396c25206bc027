"""Every kernel of Transformer-XL attention compiles to machine code for NVIDIA and AMD on a machine without either."""

from __future__ import annotations

import pytest

from ..ahead import TARGETS, compile_ahead
from . import listed


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_compiles(target: str) -> None:
    compile_ahead(listed.__file__, target, len(listed.KERNELS))

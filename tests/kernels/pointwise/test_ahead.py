"""Every region kernel of a real pattern compiles to machine code for NVIDIA and AMD on a machine without either."""

from __future__ import annotations

from types import ModuleType

import pytest

from ..ahead import TARGETS, compile_ahead


def test_both_kernels_of_every_region_are_listed(of_pattern: ModuleType) -> None:
    regions = [r.name for r in vars(of_pattern).values() if type(r).__name__ == "Region"]
    assert len(regions) >= 5
    assert sorted(of_pattern.KERNELS) == sorted(f"{r}_{role}" for r in regions for role in ("forward", "backward"))


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_compiles(target: str, of_pattern: ModuleType) -> None:
    assert of_pattern.__file__
    compile_ahead(of_pattern.__file__, target, len(of_pattern.KERNELS))

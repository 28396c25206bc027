"""Here the interpreter runs the kernels that loop, too."""

from __future__ import annotations

import pytest

from cortexc.kernels.pointwise import region


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region, "LOOPS_INTERPRETED", True)

"""What the compiler says of a device is what the kernels do: they may not import each other."""

from __future__ import annotations

from cortexc.compiler.recurrence.describe import CROWDED
from cortexc.kernels.recurrence import tiles


def test_what_a_program_takes() -> None:
    assert CROWDED == tiles.CROWDED

"""What the compiler says of a device is what the kernels do: they may not import each other."""

from __future__ import annotations

from cortexc.compiler.recurrence.describe import ON_CHIP
from cortexc.kernels.recurrence import tiles


def test_what_a_program_holds() -> None:
    assert ON_CHIP == tiles.ON_CHIP

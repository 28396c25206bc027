"""How a call is launched, whatever its schedule: with what was measured on the device at hand, else with what is built
in."""

from __future__ import annotations

from . import heads, tiles, tuning
from .cell import Cell, Inputs
from .choices import Choice, Heads
from .tiles import Plan, arithmetic_of, fits


def plan(cell: Cell, inputs: Inputs, direction: str) -> Plan:
    """How a forward or a backward is launched."""
    choice = built_in(cell, inputs, direction)
    key = tuning.key_of(cell, inputs, choice.schedule, direction, arithmetic_of(inputs))
    tuned = tuning.chosen(cell, inputs, key, choice)
    return launched(cell, inputs, tuned if fits(cell, inputs, tuned) else choice)


def built_in(cell: Cell, inputs: Inputs, direction: str) -> Choice:
    """The choice without a measurement."""
    return heads.built_in(cell, inputs, direction) if cell.headed else tiles.built_in(cell, inputs, direction)


def launched(cell: Cell, inputs: Inputs, choice: Choice) -> Plan:
    """The plan that a choice makes of a call."""
    return heads.launched(inputs, choice) if isinstance(choice, Heads) else tiles.launched(cell, inputs, choice)

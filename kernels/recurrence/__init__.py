"""What generated recurrences call: the loops, the scans, autograd and torch.compile around one step's equations."""

from .._triton import tl, triton
from .cell import Cell, Kernel
from .meet import meet
from .op import RecurrenceOp
from .sliced import sliced_dot

__all__ = ["Cell", "Kernel", "RecurrenceOp", "meet", "sliced_dot", "tl", "triton"]

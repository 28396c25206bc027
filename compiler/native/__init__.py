"""A layer's step as C++, for what a CPU computes in float32 without gradients: one call, not hundreds of operators.

``layer`` walks the graph and places its values in memory, ``calls`` has the call of each op, ``pointwise`` prints what
is computed number by number, ``text`` the Python around it. What they call is in `kernels/native` and beside each op.
A graph with an op that has no row in ``calls`` has no form in C++, and runs on torch.
"""

from .layer import emit_layers
from .text import native_text

__all__ = ["emit_layers", "native_text"]

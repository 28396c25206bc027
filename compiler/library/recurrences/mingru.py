"""minGRU: a GRU whose gate and candidate do not see the state, so that it is affine. arXiv 2410.01201, section 3.1."""

from __future__ import annotations

from ...recurrence import State, Symbols, recurrence, sigmoid


@recurrence(inputs="z h", state="h", params="b_z b_h", outputs="h", bias=False)
def mingru(x: Symbols, s: Symbols, p: Symbols) -> State:
    """The form without logarithms: the candidate h~ is linear in the input, and of any sign.

    The biases of both maps stand here, so that their gradients are exact across calls too.
    """
    z = sigmoid(x.z + p.b_z)
    return State(h=(1.0 - z) * s.h + z * (x.h + p.b_h))

"""GRU, gates in the order of torch.nn.GRU."""

from __future__ import annotations

from ...recurrence import State, Symbols, recurrence, sigmoid, tanh


@recurrence(inputs="r z n", state="h", params="b", recurrent="h", outputs="h")
def gru(x: Symbols, s: Symbols, r: Symbols, p: Symbols) -> State:
    """b is the recurrent bias of n, the one bias that the reset gate multiplies (b_hn of torch)."""
    reset, z = sigmoid(x.r + r.r), sigmoid(x.z + r.z)
    n = tanh(x.n + reset * (r.n + p.b))
    return State(h=n + z * (s.h - n))

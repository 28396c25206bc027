"""LSTM, gates in the order of torch.nn.LSTM."""

from __future__ import annotations

from ...recurrence import State, Symbols, recurrence, sigmoid, tanh


@recurrence(inputs="i f g o", state="h c", recurrent="h", outputs="h")
def lstm(x: Symbols, s: Symbols, r: Symbols) -> State:
    """One layer; both biases belong to the inputs."""
    i, f, g, o = x.i + r.i, x.f + r.f, x.g + r.g, x.o + r.o
    c = sigmoid(f) * s.c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return State(h=h, c=c)

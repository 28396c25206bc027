"""minLSTM: an LSTM whose gates do not see the state, normalised to sum to 1. arXiv 2410.01201, section 3.2."""

from __future__ import annotations

from ...recurrence import State, Symbols, log_sigmoid, recurrence, sigmoid


@recurrence(inputs="f i h", state="h", params="b_f b_i b_h", outputs="h", bias=False)
def minlstm(x: Symbols, s: Symbols, p: Symbols) -> State:
    """The form without logarithms of the state: the candidate h~ is linear in the input, and of any sign.

    f / (f + i) of two gates f = σ(a) and i = σ(b) is σ(log σ(a) - log σ(b)), which no pair of small gates makes 0 / 0.
    """
    keep = sigmoid(log_sigmoid(x.f + p.b_f) - log_sigmoid(x.i + p.b_i))
    return State(h=keep * s.h + (1.0 - keep) * (x.h + p.b_h))

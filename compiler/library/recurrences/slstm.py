"""sLSTM: an LSTM with exponential gates and a stabiliser. arXiv 2405.04517, eqs. 8-18."""

from __future__ import annotations

from ...recurrence import State, Symbols, equal, exp, log_sigmoid, maximum, minimum, recurrence, sigmoid, tanh, where


@recurrence(inputs="i f z o", state="y c n m", recurrent="y", outputs="y")
def slstm(x: Symbols, s: Symbols, r: Symbols) -> State:
    """c and n are sums weighted by exponential gates, m the running maximum that keeps the exponents at or below 0.

    min(1, exp(a)) is written exp(min(0, a)): the same number, and its derivative stays finite where exp(a) overflows.
    """
    i, f, z, o = x.i + r.i, x.f + r.f, x.z + r.z, x.o + r.o
    l = s.m + log_sigmoid(f)
    m = where(equal(s.n, 0.0), i, maximum(i, l))
    i_gate = exp(minimum(0.0, i - m))
    f_gate = exp(minimum(0.0, l - m))
    c = f_gate * s.c + i_gate * tanh(z)
    n = f_gate * s.n + i_gate
    y = sigmoid(o) * c / (n + 1e-6)
    return State(y=y, c=c, n=n, m=m)

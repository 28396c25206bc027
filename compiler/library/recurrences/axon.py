"""Axon: a real-time recurrent unit, a decaying rotation of the plane per channel. arXiv 2409.01449."""

from __future__ import annotations

from ...recurrence import State, Symbols, cos, exp, expm1, recurrence, sin, sqrt


@recurrence(inputs="u", state="c1 c2", params="nu theta w1 w2", outputs="c1 c2")
def axon(x: Symbols, s: Symbols, p: Symbols) -> State:
    """nu is log(-log r) and theta the log of the angle; gamma = sqrt(1 - r²) keeps its precision for r near 1."""
    r = exp(-exp(p.nu))
    angle = exp(p.theta)
    g, phi = r * cos(angle), r * sin(angle)
    gamma = sqrt(-expm1(-2.0 * exp(p.nu)))
    b1, b2 = gamma * p.w1, gamma * p.w2
    return State(c1=g * s.c1 - phi * s.c2 + b1 * x.u, c2=g * s.c2 + phi * s.c1 + b2 * x.u)

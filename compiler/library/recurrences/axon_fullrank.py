"""Axon with full-rank input maps: the rotation of `axon.py`, driven by W_c1 u and W_c2 u. arXiv 2409.01449."""

from __future__ import annotations

from ...recurrence import State, Symbols, cos, exp, expm1, recurrence, sin, sqrt


@recurrence(inputs="u1 u2", state="c1 c2", params="nu theta", outputs="c1 c2")
def axon_fullrank(x: Symbols, s: Symbols, p: Symbols) -> State:
    """u1 = W_c1 u and u2 = W_c2 u are products over all channels, taken before the recurrence, which stays diagonal."""
    r = exp(-exp(p.nu))
    angle = exp(p.theta)
    g, phi = r * cos(angle), r * sin(angle)
    gamma = sqrt(-expm1(-2.0 * exp(p.nu)))
    return State(c1=g * s.c1 - phi * s.c2 + gamma * x.u1, c2=g * s.c2 + phi * s.c1 + gamma * x.u2)

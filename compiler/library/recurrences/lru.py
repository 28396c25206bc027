"""Linear recurrent unit: a complex diagonal recurrence as a pair of real ones. arXiv 2303.06349."""

from __future__ import annotations

from ...recurrence import State, Symbols, cos, exp, expm1, recurrence, sin, sqrt


@recurrence(
    inputs="re im",
    state="re im",
    params="nu_log theta_log gamma_log",
    outputs="re im",
    start={"nu_log": ("axon_nu", 0.0, 1.0), "theta_log": ("axon_theta", 6.28), "gamma_log": 0.0},
    bias=False,
)
def lru(x: Symbols, s: Symbols, p: Symbols) -> State:
    """h = λ h + γ B u with λ = exp(-exp(nu_log) + i exp(theta_log)); x.re + i x.im is B u.

    γ is learned, as in the paper. It is written relative to the exact normaliser √(1 - |λ|²), which keeps its precision
    for |λ| near 1: gamma_log = 0 is the paper's start.
    """
    modulus = exp(-exp(p.nu_log))
    angle = exp(p.theta_log)
    a, b = modulus * cos(angle), modulus * sin(angle)
    gamma = exp(p.gamma_log) * sqrt(-expm1(-2.0 * exp(p.nu_log)))
    return State(re=a * s.re - b * s.im + gamma * x.re, im=a * s.im + b * s.re + gamma * x.im)

"""Against what others compute: torch.nn.LSTM, torch.nn.GRU, and the equations of the papers written by hand."""

from __future__ import annotations

import pytest
import torch

from ...tolerances import assert_close
from .conftest import DEVICE

H = 6


def parameters(module):
    return [p.detach() for p in module.parameters()]


@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_lstm(ops, impl):
    torch.manual_seed(0)
    other = torch.nn.LSTM(H, H, batch_first=True).double()
    x, h, c = torch.randn(3, 7, H).double(), torch.randn(3, H).double(), torch.randn(3, H).double()
    wanted, (last_h, last_c) = other(x, (h[None], c[None]))
    w_ih, w_hh, b_ih, b_hh = parameters(other)
    gates = (x @ w_ih.T + b_ih + b_hh).view(3, 7, 4, H)
    (y,), state, _ = ops["lstm"].sequence(gates, (), w_hh.view(1, 4, H, H), (h, c), impl=impl)
    for a, b in zip((y, *state), (wanted, last_h[0], last_c[0]), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_gru(ops, impl):
    torch.manual_seed(0)
    other = torch.nn.GRU(H, H, batch_first=True).double()
    x, h = torch.randn(3, 7, H).double(), torch.randn(3, H).double()
    wanted, last = other(x, h[None])
    w_ih, w_hh, b_ih, b_hh = parameters(other)
    folded = b_ih + torch.cat([b_hh[: 2 * H], torch.zeros(H).double()])
    gates = (x @ w_ih.T + folded).view(3, 7, 3, H)
    (y,), state, _ = ops["gru"].sequence(gates, (b_hh[2 * H :],), w_hh.view(1, 3, H, H), (h,), impl=impl)
    for a, b in zip((y, *state), (wanted, last[0]), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_slstm(ops, case, impl):
    call = case(ops["slstm"], steps=8, resets="random")
    (found,), last, _ = ops["slstm"].sequence(*call.args(), impl=impl)
    y, c, n, m = (s.detach() for s in call.state)
    for t in range(8):
        y, c, n, m = (torch.where(call.resets[:, t, None], 0.0, s) for s in (y, c, n, m))
        r = torch.einsum("ngoi,bni->bgno", call.weight, y.view(2, 2, 3)).reshape(2, 4, 6)
        i, f, z, o = (call.x[:, t] + r).unbind(1)
        l = m + torch.nn.functional.logsigmoid(f)
        m = torch.where(n == 0, i, torch.maximum(i, l))
        i_gate, f_gate = torch.clamp(torch.exp(i - m), max=1), torch.clamp(torch.exp(l - m), max=1)
        c = f_gate * c + i_gate * torch.tanh(z)
        n = f_gate * n + i_gate
        y = torch.sigmoid(o) * c / (n + 1e-6)
        assert_close(found[:, t], y)
    for a, b in zip(last, (y, c, n, m), strict=True):
        assert_close(a, b)


def test_slstm_extreme_gates(ops, case, variant):
    """Large gates overflow no exponent, forward or backward."""
    call = case(ops["slstm"], steps=6, resets="first").to(torch.float32)
    for impl in ("reference", "torch", "triton"):
        given = variant(call, x=(300.0 * call.x.detach()).requires_grad_())
        outputs, last, _ = ops["slstm"].sequence(*given.args(), impl=impl)
        grads = torch.autograd.grad([outputs[0].sum() + sum(s.sum() for s in last)], [given.x, given.weight])
        assert all(torch.isfinite(t).all() for t in (*outputs, *last, *grads))


@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_axon(ops, case, impl):
    """c = r e^{i angle} c + gamma (w1 + i w2) u, as complex numbers."""
    call = case(ops["axon"], steps=8, resets="random")
    nu, theta, w1, w2 = (p.detach() for p in call.params)
    (c1, c2), _, _ = ops["axon"].sequence(*call.args(), impl=impl)
    pole = torch.polar(torch.exp(-torch.exp(nu)), torch.exp(theta))
    gamma = torch.sqrt(1 - torch.exp(-torch.exp(nu)) ** 2)
    c = torch.complex(*(s.detach() for s in call.state))
    for t in range(8):
        c = torch.where(call.resets[:, t, None], 0.0, c)
        c = pole * c + gamma * torch.complex(w1, w2) * call.x[:, t, 0].detach()
        assert_close(c1[:, t], c.real)
        assert_close(c2[:, t], c.imag)


@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_lru(ops, case, impl):
    """arXiv 2303.06349, eq. 7: h = λ h + γ B u in complex numbers, γ = √(1 - |λ|²) at its start."""
    call = case(ops["lru"], steps=8, resets="random")
    nu, theta, gamma = (p.detach() for p in call.params)
    (re, im), _, _ = ops["lru"].sequence(*call.args(), impl=impl)
    pole = torch.exp(torch.complex(-torch.exp(nu), torch.exp(theta)))
    h = torch.complex(*(s.detach() for s in call.state))
    for t in range(8):
        h = torch.where(call.resets[:, t, None], 0.0, h)
        drive = torch.complex(*call.x[:, t].detach().unbind(1))
        h = pole * h + torch.exp(gamma) * torch.sqrt(1 - pole.abs() ** 2) * drive
        assert_close(re[:, t], h.real)
        assert_close(im[:, t], h.imag)


@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_mingru(ops, case, impl):
    """arXiv 2410.01201, section 3.1, without the state in the loop: the sum over the past in closed form."""
    call = case(ops["mingru"], steps=8, resets="none")
    bias_z, bias_h = (p.detach() for p in call.params)
    z, candidate = (v.detach() for v in call.x.unbind(2))
    z, candidate = torch.sigmoid(z + bias_z), candidate + bias_h
    (found,), _, _ = ops["mingru"].sequence(*call.args(), impl=impl)
    for t in range(8):
        share = [z[:, k] * torch.prod(1 - z[:, k + 1 : t + 1], dim=1) * candidate[:, k] for k in range(t + 1)]
        assert_close(found[:, t], sum(share) + torch.prod(1 - z[:, : t + 1], dim=1) * call.state[0].detach())


@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_minlstm(ops, case, impl):
    """arXiv 2410.01201, section 3.2, with the gates divided by their sum as the paper writes it."""
    call = case(ops["minlstm"], steps=8, resets="random")
    biases = torch.stack([p.detach() for p in call.params])
    (found,), _, _ = ops["minlstm"].sequence(*call.args(), impl=impl)
    h = call.state[0].detach()
    for t in range(8):
        h = torch.where(call.resets[:, t, None], 0.0, h)
        f, i, candidate = (call.x[:, t].detach() + biases).unbind(1)
        f, i = torch.sigmoid(f), torch.sigmoid(i)
        h = f / (f + i) * h + i / (f + i) * candidate
        assert_close(found[:, t], h)


@pytest.mark.parametrize("impl", ["reference", "torch", "triton"])
def test_minlstm_closed_gates(ops, impl):
    """Both gates round to 0 in float32, where the paper's quotient is 0 / 0."""
    device = DEVICE if impl == "triton" else "cpu"
    x = torch.tensor([-200.0, -201.0, 3.0], device=device).view(1, 1, 3, 1).requires_grad_()
    zero, one = torch.zeros(1, device=device), torch.ones(1, 1, device=device)
    (y,), _, _ = ops["minlstm"].sequence(x, (zero, zero, zero), None, (one,), impl=impl)
    share = torch.sigmoid(torch.tensor(1.0, device=device))  # e^-200 / (e^-200 + e^-201)
    assert_close(y.flatten(), (share + (1 - share) * 3.0).view(1))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0.1


@pytest.mark.parametrize("nu", [-12.0, -16.0])
def test_axon_near_one(ops, nu):
    """r rounds to 1 in float32; gamma and every derivative stay finite and right."""
    u = torch.ones(1, 4, 1, 1)
    params = [torch.tensor([v], requires_grad=True) for v in (nu, -20.0, 1.0, 1.0)]
    wide = [p.detach().double().requires_grad_() for p in params]
    for given in (params, wide):
        (y, _), _, _ = ops["axon"].sequence(u.to(given[0]), tuple(given), impl="torch")
        y.sum().backward()
    for a, b in zip(params, wide, strict=True):
        assert_close(a.grad, b.grad, torch.float32)

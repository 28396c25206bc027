"""LSTM whose output is a projection of its hidden state, as torch.nn.LSTM with ``proj_size`` (arXiv 1402.1128).

    [i f g o] = gates_t + W_hh h_{t-1};  c_t = σ(f) c_{t-1} + σ(i) tanh g;  h_t = W_hr (σ(o) tanh c_t)

Notation: B rows, T steps, H cells, P projected width. The output h_t is narrower than what the gates of one channel
need, so no channel runs by itself and nothing is left of the closed forms: a loop over time, and its own reference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..opaque import opaque
from ..precision import accumulate_dtype, full_precision
from ..segments import reset_state


def _fake(
    gates: Tensor, h: Tensor, c: Tensor, weight_hh: Tensor, weight_hr: Tensor, segments: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulate_dtype(gates)
    y = gates.new_empty(*gates.shape[:2], h.shape[-1])
    return y, torch.empty_like(h, dtype=dtype), torch.empty_like(c, dtype=dtype)


@opaque("lstm_projected", _fake)
def lstm_projected(
    gates: Tensor, h: Tensor, c: Tensor, weight_hh: Tensor, weight_hr: Tensor, segments: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """gates: [B, T, 4H] = W_ih x + b, order i f g o; h: [B, P]; c: [B, H]; weight_hh: [4H, P]; weight_hr: [P, H],
    or one for each row, [B, 4H, P] and [B, P, H] (1 for B: all rows alike);
    segments: int64 [B, T] or None. Returns h of every step [B, T, P], and the final h and c (float32 at least)."""
    dtype = accumulate_dtype(gates)
    h, c = h.to(dtype), c.to(dtype)
    recurrent, project = weight_hh.to(dtype), weight_hr.to(dtype)
    before = torch.zeros(gates.shape[0], dtype=torch.int64, device=gates.device)
    outputs = []
    with full_precision(gates):
        for t in range(gates.shape[1]):
            if segments is not None:
                fresh = segments[:, t] != before
                before = segments[:, t]
                h, c = reset_state(h, fresh), reset_state(c, fresh)
            i, f, g, o = (gates[:, t].to(dtype) + _map(h, recurrent)).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = _map(torch.sigmoid(o) * torch.tanh(c), project)
            outputs.append(h)
    return torch.stack(outputs, 1).to(gates.dtype), h, c


def _map(x: Tensor, weight: Tensor) -> Tensor:
    """x [B, I] by a weight [O, I], or by that of each row, [B, O, I]."""
    return x @ weight.T if weight.dim() == 2 else (weight @ x.unsqueeze(-1)).squeeze(-1)


def lstm_projected_step(
    gates: Tensor, h: Tensor, c: Tensor, weight_hh: Tensor, weight_hr: Tensor, resets: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of `lstm_projected`. gates: [B, 4H]; resets: bool [B] or None."""
    segments = None if resets is None else resets.to(torch.int64)[:, None]
    y, h, c = lstm_projected(gates[:, None], h, c, weight_hh, weight_hr, segments)
    return y[:, 0], h, c

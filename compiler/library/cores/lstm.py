"""LSTM: parameters and numbers of torch.nn.LSTM, state batch first."""

from __future__ import annotations

from ....cortex_dsl import LSTMCoreConfig
from ..builder import Builder, Ref
from ..dropout import drop
from ..recurrences import lstm as equations
from ..registry import part


@part(LSTMCoreConfig)
def lstm(b: Builder, cfg: LSTMCoreConfig, x: Ref) -> Ref:
    """Layer upon layer: [i f g o] = W_ih x + b_ih + b_hh as one product over all of time, then the recurrence of
    ``recurrences/lstm.py``. State ``h [B, L, Hp]`` and ``c [B, L, H]``.

    With ``proj_size`` the outputs h are that wide, as torch's; ``out_proj`` brings the last layer's back to the
    width of
    x, since the output of every part has the shape of its input."""
    width = x.width
    h, c = b.state("h", (cfg.num_layers, cfg.proj_size or width)), b.state("c", (cfg.num_layers, width))
    y, after = x, []
    for index, slots in enumerate(zip(_layers(b, h), _layers(b, c), strict=True)):
        if index:
            y = drop(b, y, cfg.dropout, f"layer {index - 1}")  # not after the last, as torch
        y, *carried = _layer(b, f"l{index}", y, *slots, bias=cfg.bias, projected=bool(cfg.proj_size))
        after.append(carried)
    for slot, values in zip((h, c), zip(*after, strict=True), strict=True):
        b.carry(slot, b.op("stack", *values, hint=slot.name.rpartition(".")[2]))
    return b.linear("out_proj", y, width) if cfg.proj_size else y


def _layers(b: Builder, state: Ref) -> tuple[Ref, ...]:
    """``[B, L, W]`` as L values ``[B, W]``."""
    layers, width = (int(d) for d in state.type.shape[1:])
    joined = b.op("flatten", state, join=2)
    if layers == 1:
        return (joined,)
    return b.ops("split", joined, sizes=(width,) * layers, hints=[f"layer{i}" for i in range(layers)])


def _layer(b: Builder, name: str, x: Ref, h: Ref, c: Ref, *, bias: bool, projected: bool) -> tuple[Ref, Ref, Ref]:
    """One layer: its outputs, and the next h and c."""
    width, out = c.width, h.width
    weight = b.param(f"weight_ih_{name}", (4 * width, x.width), "orthogonal")
    recurrent = b.param(f"weight_hh_{name}", (4 * width, out), "orthogonal")
    biases = [b.param(f"bias_{k}_{name}", (4 * width,), "constant", 1) for k in ("ih", "hh")] if bias else []
    gates = b.map(x, weight, biases[0] + biases[1] if bias else None, hint="gates")
    if projected:
        down = b.param(f"weight_hr_{name}", (out, width), "orthogonal")
        y, h, c = b.temporal("lstm_projected", gates, h, c, b.matrix(recurrent), b.matrix(down), hints=("y", "h", "c"))
        return y, h, c
    gates = b.op("unflatten", gates, sizes=(4, width), hint="gates")
    heads = b.matrix(recurrent, (1, 4, width, width), hint="recurrent")
    (y,), (h, c) = b.advance(equations, gates, weight=heads, states=(h, c))
    return y, h, c

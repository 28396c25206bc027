"""Any recurrence in torch, forward: a loop over time that holds what must wait for the state before, and no more.

Everything else is done for a block of steps at once: laying out the inputs, and gathering the results. The recurrent
terms of the gates that only ever add them to their inputs are accumulated onto these by the product itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import Cell, Forward, Inputs, compute_dtype
from .layout import block_length, by_head, by_step, masks, merge, product, split
from .leaves import hoisted_of, inputs_of
from .readout import read


def forward(cell: Cell, inputs: Inputs, keep: bool) -> Forward:
    """Run the equations over T, writing each output and each kept state variable once."""
    assert cell.advance is not None
    x, dtype = inputs.x, compute_dtype(inputs.x)
    rows, length, _, width = x.shape
    heads = inputs.weight.shape[-4] if inputs.weight is not None else 1
    maps = _maps(inputs.weight, dtype) if inputs.weight is not None else None
    hoisted = [h.view(heads, 1, -1) for h in inputs.hoist(cell)]
    state = tuple(split(s.to(dtype), heads) for s in inputs.state)
    wanted = _wanted(cell, keep)
    buffers = {i: torch.empty(rows, length, width, dtype=dtype, device=x.device) for i in wanted}
    resets, mask = masks(inputs.resets, length)
    order, size = _order(cell), block_length(rows, length, width)
    for first in range(0, length, size):
        stop = min(first + size, length)
        plain, driven = _arrange(cell, x[:, first:stop], heads, dtype)
        made: dict[int, list[Tensor]] = {i: [] for i in buffers}
        for t in range(first, stop):
            if resets[t]:
                state = tuple(torch.where(mask[t], start, s) for start, s in zip(cell.initial, state, strict=True))
            given = plain[t - first]
            if maps is not None and cell.recurrent is not None:
                y = state[cell.recurrent]
                shared = maps.dim() == 3
                sums = torch.baddbmm(driven[t - first], y, maps) if shared else driven[t - first] + product(y, maps)
                given = (*sums.unflatten(-1, (len(cell.gates), -1)).unbind(2), *given)
            state = cell.advance(*[given[place] for place in order], *state, *hoisted)
            for i, values in made.items():
                values.append(state[i])
        for i, buffer in buffers.items():
            by_step(buffer[:, first:stop], heads).copy_(torch.stack(made[i]))
    found = dict(buffers)
    if cell.read is not None:
        new = [buffers[i] for i in range(len(cell.state))]
        outside, _ = read(cell, inputs_of(cell, inputs, dtype), new, hoisted_of(cell, inputs))
        found |= zip(cell.read_outputs, outside, strict=True)
    outputs = tuple(found[i].to(x.dtype) for i in cell.outputs)
    return Forward(outputs, tuple(map(merge, state)), tuple(buffers[i] for i in cell.kept) if keep else ())


def _wanted(cell: Cell, keep: bool) -> tuple[int, ...]:
    """The state variables of which every step is written: read-outs may read any."""
    if cell.read is not None:
        return tuple(range(len(cell.state)))
    return (*cell.outputs, *cell.kept) if keep else cell.outputs


def _maps(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """[N, gates, D, D] (out, in) as a view [N, in, gates·out]; [B, N, …] as [N, B, in, gates·out]."""
    return by_head(weight.to(dtype).flatten(-3, -2).transpose(-2, -1))


def _plain(cell: Cell) -> list[int]:
    """The inputs that nothing recurrent is added to outside of the equations."""
    added = {g for g, shared in zip(cell.gates, cell.shared, strict=True) if shared}
    return [g for g in range(len(cell.inputs)) if g not in added]


def _order(cell: Cell) -> list[int]:
    """Where `advance` finds its x and r in the list of all gates, then all plain inputs."""
    plain, count = _plain(cell), len(cell.gates)
    x = [count + plain.index(g) if g in plain else cell.gates.index(g) for g in range(len(cell.inputs))]
    return x + [place for place, shared in enumerate(cell.shared) if not shared]


def _arrange(cell: Cell, x: Tensor, heads: int, dtype: torch.dtype) -> tuple[list[tuple[Tensor, ...]], list[Tensor]]:
    """Of every step: the plain inputs, [N, B, D] each; and what the recurrent terms are added to, [N, B, gates·D]."""
    rows, length, _, width = x.shape
    plain = [by_step(x[:, :, g], heads).to(dtype, memory_format=torch.contiguous_format) for g in _plain(cell)]
    steps: list[tuple[Tensor, ...]] = [()] * length
    if plain:
        steps = list(zip(*(p.unbind(0) for p in plain), strict=True))
    if not cell.gates:
        return steps, []
    shape = (length, heads, rows, len(cell.gates), width // heads)
    driven = torch.empty(shape, dtype=dtype, device=x.device)
    for place, (g, shared) in enumerate(zip(cell.gates, cell.shared, strict=True)):
        if shared:
            driven[:, :, :, place].copy_(by_step(x[:, :, g], heads))
        else:
            driven[:, :, :, place].zero_()
    return steps, list(driven.flatten(3).unbind(0))

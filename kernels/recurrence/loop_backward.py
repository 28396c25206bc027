"""Any recurrence in torch, backward: an explicit loop without an autograd tape, in blocks of steps from the end.

For the steps of a block all partial derivatives are computed at once (`jacobian`), into one tensor per state variable.
What is left in the loop is the adjoint: multiplied and added, put through the recurrent matrices, cut at resets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import Backward, Cell, Inputs, compute_dtype, previous, recur
from .layout import block_length, by_head, by_row, by_step, masks, merge, product, split
from .leaves import input_gradients, value_gradients
from .readout import Outside


def backward(
    cell: Cell, inputs: Inputs, kept: tuple[Tensor, ...], outside: Outside, d_last: tuple[Tensor, ...]
) -> Backward:
    """Gradients of everything that the forward read."""
    x, dtype = inputs.x, compute_dtype(inputs.x)
    rows, length, _, width = x.shape
    weight = inputs.weight.to(dtype) if inputs.weight is not None else None
    heads = weight.shape[-4] if weight is not None else 1
    new = dict(zip(cell.kept, kept, strict=True))
    hoisted = inputs.hoist(cell)
    chain = _Chain(cell, inputs.resets, weight, rows, length, width, dtype, x.device)
    d_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    d_hoisted = [torch.zeros(width, dtype=dtype, device=x.device) for _ in hoisted]
    d_weight = torch.zeros_like(weight).flatten(-3, -2).flatten(0, -3) if weight is not None else None
    nothing = torch.zeros((), dtype=dtype, device=x.device)
    stop = length
    while stop > 0:
        first = max(0, stop - chain.size)
        now = x[:, first:stop].to(dtype).unbind(2)
        before = [
            previous(cell, i, inputs, new[i], first, stop) if i in new else nothing.expand(rows, stop - first, width)
            for i in range(len(cell.state))
        ]
        recurrent: tuple[Tensor, ...] = ()
        if weight is not None and cell.recurrent is not None:
            recurrent = recur(weight, before[cell.recurrent]).unbind(2)  # R y of the whole block as one GEMM
        chain.load(now, recurrent, before, hoisted)
        chain.run(first, stop, outside.state, d_last)
        d_gates, adjoints = chain.results(stop - first)
        if cell.gates == tuple(range(len(cell.inputs))) and all(cell.shared) and not hoisted:
            into = d_x[:, first:stop].unflatten(-1, (heads, -1)).permute(1, 3, 0, 2, 4)
            into.copy_(d_gates)
        else:
            found = cell.vjp(*now, *recurrent, *before, *hoisted, *(by_row(d) for d in adjoints.unbind(3)))
            for g in range(len(cell.inputs)):
                d_x[:, first:stop, g].copy_(found[g])
            if hoisted:
                for total, part in zip(d_hoisted, found[-len(hoisted) :], strict=True):
                    total += part.sum((0, 1))
        if d_weight is not None and cell.recurrent is not None:
            # the sum of all outer products of the block, one GEMM a head
            y = by_step(before[cell.recurrent], heads)
            d_weight.baddbmm_(*_factors(d_gates.flatten(3), y, own=d_weight.shape[0] != heads))
        stop = first
    d_state = tuple(merge(d) for d in chain.adjoint.unbind(2))
    if d_weight is not None and inputs.weight is not None:
        d_weight = d_weight.view(inputs.weight.shape).to(inputs.weight.dtype)
    if outside.inputs:
        d_x += input_gradients(cell, inputs, outside.inputs)[0]
        d_hoisted = [h + d for h, d in zip(d_hoisted, value_gradients(cell, inputs, outside.values), strict=True)]
    return Backward(d_x, tuple(d_hoisted), d_weight, d_state)


def _factors(d_gates: Tensor, y: Tensor, own: bool) -> tuple[Tensor, Tensor]:
    """What the gradient of the weight is the product of: [N, G, T·B] and [N, T·B, D], or, where each row has its `own`
    weight, [B·N, G, T] and [B·N, T, D].

    d_gates: [T, N, B, G]; y: [T, N, B, D]."""
    if own:
        return d_gates.permute(2, 1, 3, 0).flatten(0, 1), y.permute(2, 1, 0, 3).flatten(0, 1)
    return d_gates.permute(1, 3, 0, 2).flatten(2), y.transpose(0, 1).flatten(1, 2)


class _Chain:
    """The adjoint's way back over one block, in buffers that every block uses again.

    Place u of `slab` is [N, B, gates + state, D]: of step u the adjoints of its recurrent terms, then of the state it
    read. The adjoint of the state it made stands at u + 1. Before the loop a place holds what comes from outside (the
    gradients of the outputs); the loop adds what comes through the steps.
    """

    def __init__(
        self,
        cell: Cell,
        resets: Tensor | None,
        weight: Tensor | None,
        rows: int,
        length: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.cell, self.length = cell, length
        self.size = size = block_length(rows, length, width)
        self.heads = heads = weight.shape[-4] if weight is not None else 1
        self.gates = gates = len(cell.gates)
        self.resets, self.mask = masks(resets, length)
        shape = (heads, rows, gates + len(cell.state), width // heads)
        self.slab = torch.zeros(size + 1, *shape, dtype=dtype, device=device)
        # per state variable: its partial derivatives, over the span of places that has any
        self.low: dict[int, int] = {}
        self.partial: dict[int, Tensor] = {}
        for i in dict.fromkeys(i for i, _ in cell.entries):
            places = [place for j, place in cell.entries if j == i]
            low, high = min(places), max(places) + 1
            self.low[i] = low
            self.partial[i] = torch.zeros(size, heads, rows, high - low, width // heads, dtype=dtype, device=device)
        # views of every step, made once: target, partial derivatives, adjoint of the new state variable
        terms = [
            zip(
                self.slab[:-1, :, :, self.low[i] : self.low[i] + p.shape[3]].unbind(0),
                p.unbind(0),
                self.slab[1:, :, :, gates + i, None].unbind(0),
                strict=True,
            )
            for i, p in self.partial.items()
        ]
        self.terms = list(zip(*terms, strict=True))
        self.states = self.slab[:, :, :, gates:].unbind(0)
        # [N, gates·D, D], or [N, B, gates·D, D]
        self.transposed = by_head(weight.flatten(-3, -2)) if weight is not None else None
        if cell.recurrent is not None:
            self.through = list(
                zip(
                    self.slab[:, :, :, gates + cell.recurrent].unbind(0),
                    self.slab[:, :, :, :gates].flatten(3).unbind(0),
                    strict=True,
                )
            )

    @property
    def adjoint(self) -> Tensor:
        """Of the state that the block's first step read, [N, B, state, D]."""
        return self.states[0]

    def load(
        self, x: tuple[Tensor, ...], recurrent: tuple[Tensor, ...], before: list[Tensor], hoisted: tuple[Tensor, ...]
    ) -> None:
        """The partial derivatives of the block's steps, from what they read, [B, steps, H] each."""
        cell = self.cell
        assert cell.jacobian is not None
        given, own = list(x), []
        for g, shared, r in zip(cell.gates, cell.shared, recurrent, strict=True):
            if shared:
                given[g] = given[g] + r
            else:
                own.append(r)
        shape = x[0].shape
        found = cell.jacobian(*given, *own, *before, *hoisted)
        for (i, place), value in zip(cell.entries, found, strict=True):
            into = self.partial[i][: shape[1], :, :, place - self.low[i]]
            if isinstance(value, Tensor):
                into.copy_(by_step(value.expand(shape), self.heads))
            else:
                into.fill_(value)

    def run(self, first: int, stop: int, driven: dict[int, Tensor], d_last: tuple[Tensor, ...]) -> None:
        """From the adjoint after step `stop` - 1 to that before step `first`."""
        count, states = stop - first, self.states
        if stop == self.length:
            self.slab.zero_()
            for i, d in enumerate(d_last):
                states[count][:, :, i].copy_(split(d, self.heads))
        else:
            states[count].copy_(states[0])
            self.slab[:count].zero_()
        # the output of step first + u - 1 is the state at place u
        low, high = int(first == 0), count + int(stop == self.length)
        for i, d in driven.items():
            self.slab[low:high, :, :, self.gates + i] += by_step(d[:, first + low - 1 : first + high - 1], self.heads)
        for u in reversed(range(count)):
            cut = self.resets[first + u]
            outside = states[u].clone() if cut else None
            for target, partial, adjoint in self.terms[u]:
                target.addcmul_(partial, adjoint)
            if self.transposed is not None:
                target, d_gates = self.through[u]
                target.add_(product(d_gates, self.transposed))
            if outside is not None:  # what a reset step read does not reach the step before it
                states[u].copy_(torch.where(self.mask[first + u][:, :, None], outside, states[u]))

    def results(self, count: int) -> tuple[Tensor, Tensor]:
        """Adjoints of every step's recurrent terms, [T, N, B, gates, D], and of its new state, [T, N, B, state, D]."""
        return self.slab[:count, :, :, : self.gates], self.slab[1 : count + 1, :, :, self.gates :]

"""One recurrence as data: what a generated module hands to `RecurrenceOp`.

Notation, here and in the whole folder: B rows, T steps, H channels, G inputs, N heads of width D (H = N·D, channel
n·D + d), k state variables, P parameters. "Previous" state is the state a step reads, after a reset was applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

# A generated function of tensors, returning a tuple of tensors.
Pointwise = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Kernel:
    """One Triton kernel, with an example of types and constants under which it compiles ahead of time."""

    function: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """Names, indices and generated functions of one recurrence."""

    name: str
    digest: str  # hash of equations and text
    inputs: tuple[str, ...]
    state: tuple[str, ...]
    params: tuple[str, ...]
    hoisted: tuple[str, ...]  # values computed from the parameters before the loop
    outputs: tuple[int, ...]  # what is given out: state variables, then read-outs, counted on
    recurrent: int | None  # the state variable that the recurrent matrices multiply
    gates: tuple[int, ...]  # the inputs that have a recurrent matrix
    shared: tuple[bool, ...]  # per gate: d r is d x, so only d x is kept
    initial: tuple[float, ...]
    pointwise: tuple[bool, ...]  # per state variable: the equations read its previous value
    input_axes: tuple[str, ...]  # "d": one number a channel, "e": a feature of a head, "": a head, data
    state_axes: tuple[str, ...]  # "d", or "ed": a feature and channel
    headed: bool  # channels belong to heads: x is then [B, T, N, G, D], with features and data beside it
    totals: tuple[str, ...]  # sums over a head that read-outs are computed from
    summand_axes: tuple[str, ...]  # of what is summed to each total
    seen: tuple[bool, ...]  # per state variable: the reverse mode of the read-outs reads its new value
    seen_early: tuple[bool, ...]  # of these: for the adjoint of the new state
    step: Pointwise  # (x…, r…, s…, h…) -> new s…
    vjp: Pointwise  # (x…, r…, s…, h…, d new s…) -> d x… (not of data), d r… (not shared), d s…, d h…
    vjp_wide: Pointwise | None  # as `vjp`, for state variables with features; `vjp` is then that of the others
    read: Pointwise | None  # (x…, n…, z…, h…) -> read-outs, from the new state n and the totals z
    read_vjp: Pointwise | None  # (x…, n…, z…, h…, d read-outs) -> d x…, d n…, d z…, d h…
    summands: Pointwise | None  # (x…, n…, h…) -> what is summed over a head to each total
    summands_vjp: Pointwise | None  # (x…, n…, h…, d z…) -> d x…, d n…, d h…
    hoist: Pointwise | None  # (p…) -> h…
    hoist_vjp: Pointwise | None  # (p…, d h…) -> d p…
    advance: Pointwise | None  # (x…, r… (not shared), s…, h…) -> new s…; x of a shared gate holds its r already
    jacobian: Pointwise | None  # (the same) -> partial derivatives of `advance`, one for each of `entries`
    entries: tuple[tuple[int, int], ...]  # (state variable, place); places count the gates, then the previous state
    affine: Pointwise | None  # (x…, h…) -> A as in `transition`, b; where the step is A s + b
    transition: tuple[tuple[int, int], ...]  # the entries of A that are not 0
    maps: tuple[tuple[int, int, int], ...]  # entries that a product of A's can have, and the number that each is
    trace: Pointwise | None  # (x…, s…, trace_hoist…) -> J by rows, D by parameters
    trace_hoist: Pointwise | None  # (p…) -> what `trace` reads of them
    trace_hoisted: int  # how many values that is
    traced_step: Pointwise | None  # (x…, s…, p…, traces…) -> new s…, new traces…
    kernels: Mapping[str, Kernel] = field(default_factory=dict)  # by role: forward, backward, …

    @cached_property
    def learned(self) -> tuple[int, ...]:
        """The inputs that get a gradient: all but data."""
        return tuple(i for i, axes in enumerate(self.input_axes) if axes)

    @cached_property
    def read_outputs(self) -> tuple[int, ...]:
        """The outputs that are no state."""
        return tuple(i for i in self.outputs if i >= len(self.state))

    @cached_property
    def numbers(self) -> int:
        """How many distinct numbers a product of A's has."""
        return max((place for _, _, place in self.maps), default=-1) + 1

    def axes(self, index: int) -> str:
        """Those of a state variable, a read-out or a total: they are counted on in this order."""
        k = len(self.state)
        if index < k:
            return self.state_axes[index]
        return "d" if index < k + len(self.read_outputs) else ""

    def name_of(self, index: int) -> str:
        """The name of a state variable or total."""
        k = len(self.state)
        return self.state[index] if index < k else self.totals[index - k - len(self.read_outputs)]

    @cached_property
    def kept_totals(self) -> tuple[int, ...]:
        """The totals, counted on after state variables and read-outs: the backward reads them all."""
        first = len(self.state) + len(self.read_outputs)
        return tuple(range(first, first + len(self.totals)))

    @cached_property
    def kept_states(self) -> tuple[int, ...]:
        """The state variables whose every step the backward reads."""
        read = zip(self.pointwise, self.seen, strict=True)
        return tuple(i for i, (before, after) in enumerate(read) if before or after or i == self.recurrent)

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """All that the backward reads of every step."""
        return (*self.kept_states, *self.kept_totals)

    @property
    def before(self) -> tuple[int, ...]:
        """Of the kept, those that the Triton loop stores as a step read them, not as it made them."""
        return tuple(
            i for i in self.kept_states if self.recurrent is not None and not (self.pointwise[i] and i in self.outputs)
        )

    def hoist_for_trace(self, params: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The parameter-only values that `trace` reads, [H]."""
        return self.trace_hoist(*params) if self.trace_hoist else ()

    @property
    def traced(self) -> int:
        """The number of eligibility traces: P·k, or 0."""
        return len(self.params) * len(self.state) if self.trace else 0


@dataclass(frozen=True)
class Inputs:
    """The tensors of one call."""

    x: Tensor  # [B, T, G, H]; with heads [B, T, N, G, D]
    params: tuple[Tensor, ...]  # [H]
    weight: Tensor | None  # [N, len(gates), D, D], (out, in); [B, N, …] where each row has its own
    state: tuple[Tensor, ...]  # [B, H]; with heads [B, N, D] or [B, N, E, D]
    traces: tuple[Tensor, ...]  # [B, H]
    resets: Tensor | None  # [B, T] bool
    beside: tuple[Tensor, ...] = ()  # with heads: features [B, T, N, G, E], data [B, T, N, G]; as the cell has them

    @property
    def compute_dtype(self) -> torch.dtype:
        return compute_dtype(self.x)

    @property
    def features(self) -> int:
        """Of a head; 1 where inputs have none."""
        return self.beside[0].shape[-1] if self.beside and self.beside[0].dim() == 5 else 1

    def hoist(self, cell: Cell) -> tuple[Tensor, ...]:
        """The parameter-only values, [H]."""
        return cell.hoist(*self.params) if cell.hoist else ()


@dataclass(frozen=True)
class Forward:
    """What a forward gives."""

    outputs: tuple[Tensor, ...]  # [B, T, H], dtype of x
    last: tuple[Tensor, ...]  # [B, H]
    kept: tuple[Tensor, ...]  # [B, T, …] for cell.kept, new values of every step; empty when not asked for


@dataclass(frozen=True)
class Backward:
    """What a backward gives. `hoisted` are summed over steps; `state` is masked by a reset at t = 0."""

    x: Tensor
    hoisted: tuple[Tensor, ...]  # [H]; from Triton [R, H], parts that are still to be summed
    weight: Tensor | None
    state: tuple[Tensor, ...]  # as the state
    beside: tuple[Tensor, ...] = ()  # of the features


def compute_dtype(x: Tensor) -> torch.dtype:
    """float64 stays, everything smaller computes in float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def previous(cell: Cell, index: int, inputs: Inputs, new: Tensor, first: int = 0, stop: int | None = None) -> Tensor:
    """What the steps from `first` to `stop` read of state variable `index`, from its new values at every step.

    `new` is [B, T, H]; the result is [B, stop - first, H].
    """
    stop = new.shape[1] if stop is None else stop
    if first > 0:
        before = new[:, first - 1 : stop - 1]
    else:
        before = torch.cat([inputs.state[index].to(new.dtype)[:, None], new[:, : stop - 1]], dim=1)
    if inputs.resets is None:
        return before
    mask = inputs.resets[:, first:stop]
    return torch.where(mask.view(*mask.shape, *[1] * (before.dim() - 2)), cell.initial[index], before)


def recur(weight: Tensor, y: Tensor) -> Tensor:
    """R y for every gate: weight [N, Gr, D, D], y [..., H] -> [..., Gr, H]. With a weight for each row,
    [B, N, Gr, D, D], y is [B, ..., H]."""
    heads, gates, width, _ = weight.shape[-4:]
    own = weight.shape[:-4]  # () or (B,)
    rows = y.reshape(*own, -1, heads, width).transpose(-3, -2)  # [N, rows, D]
    maps = weight.reshape(*own, heads, gates * width, width).transpose(-2, -1)
    out = rows @ maps if own else torch.bmm(rows, maps)  # [N, rows, Gr·D]
    out = out.unflatten(-1, (gates, width)).movedim(-4, -2)  # [rows, Gr, N, D]
    return out.reshape(*y.shape[:-1], gates, heads * width)

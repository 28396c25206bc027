"""What one token (one row at one step) of a recurrence costs: arithmetic and bytes, as numbers for given sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .analysis import Facts, analyse
from .axes import Axes, axes_of, leaf_axes
from .emit_torch import backward_results, read_back_results
from .expr import Expr, leaf, walk
from .frontend import Recurrence
from .ops import OPS


@dataclass(frozen=True)
class Cost:
    """Per token. Bytes are the least that must move: every tensor read or written once, matrices not counted."""

    flops_forward: int
    flops_backward: int
    flops_product: int  # of those of the forward: the recurrent product, of which the backward has three
    bytes_forward: int  # without what is kept for a backward
    bytes_kept: int  # what training keeps beside inputs and outputs
    bytes_backward: int
    bytes_trace: int  # what carrying the eligibility traces reads once more
    bytes_state: int  # per row, not per token: the carried state
    bytes_traces: int  # per row: the eligibility traces
    bytes_matrices: int  # once: the recurrent matrices


@dataclass(frozen=True)
class Device:
    """The ceilings of a device, as reached by a copy and by large products, not as sold."""

    name: str
    bandwidth: float  # bytes a second
    flops: float  # float32 outside of tensor cores, a second
    product_flops: float  # of matrix products, a second


H100 = Device("H100", 2.9e12, 5e13, 4e14)


@dataclass(frozen=True)
class Bound:
    """The least time of one pass in seconds, and what sets it."""

    seconds: float
    limit: str  # "bytes" or "arithmetic"


def bound(found: Cost, *, tokens: int, backward: bool = False, traces: bool = False, device: Device = H100) -> Bound:
    """What bytes and arithmetic allow for `tokens` tokens. Launches, and steps that wait for the step before, come on
    top of it."""
    products = found.flops_product * (3 if backward else 1)
    whole = found.flops_backward if backward else found.flops_forward
    moved = found.bytes_backward if backward else found.bytes_forward + found.bytes_kept
    moved += found.bytes_trace if traces and not backward else 0
    times = {
        "bytes": (moved * tokens + found.bytes_matrices) / device.bandwidth,
        "arithmetic": tokens * ((whole - products) / device.flops + products / device.product_flops),
    }
    limit = max(times, key=times.__getitem__)
    return Bound(times[limit], limit)


def pointwise_flops(roots: Iterable[Expr]) -> int:
    """Operations of one channel; a special function counts as 8."""
    return sum(OPS[node.op].flops for node in walk(roots) if node.args)


def cost(rec: Recurrence, *, width: int, head_width: int | None = None, features: int = 1, itemsize: int = 4) -> Cost:
    """For `width` channels, heads of `head_width` (default: one head) with `features`, inputs and outputs of `itemsize`
    bytes."""
    facts = analyse(rec)
    if rec.headed:
        return _of_heads(rec, facts, Sizes(width, head_width or width, features), itemsize)
    inner = head_width or width
    carried = max(itemsize, 4)
    gates, outputs, inputs, k = len(rec.gates), len(rec.outputs), len(rec.inputs), len(rec.state)
    product = 2 * gates * inner * width  # R y
    kept = _kept(rec, facts, itemsize) * width
    reads = sum(max(itemsize, 4) for read in facts.pointwise if read) * width
    own = facts.shared.count(False)
    return Cost(
        flops_forward=pointwise_flops((*facts.update, *_read(facts))) * width + product,
        flops_backward=pointwise_flops((*backward_results(rec, facts), *_read_back(rec, facts))) * width + 3 * product,
        flops_product=product,
        bytes_forward=(inputs + outputs) * width * itemsize,
        bytes_kept=kept,
        bytes_backward=(2 * inputs + outputs + 3 * gates + own) * width * itemsize + reads,
        bytes_trace=(inputs * width * itemsize + reads) if facts.traces else 0,
        bytes_state=k * width * carried,
        bytes_traces=len(rec.params) * k * width * carried if facts.traces else 0,
        bytes_matrices=gates * inner * width * itemsize,
    )


def _read(facts: Facts) -> tuple[Expr, ...]:
    """What read-outs compute beside the step."""
    return (*facts.readout.summands, *facts.readout.results) if facts.readout else ()


def _read_back(rec: Recurrence, facts: Facts) -> list[Expr]:
    read = facts.readout
    if read is None:
        return []
    return [*read_back_results(rec, read.summands_back), *read_back_results(rec, read.results_back)]


@dataclass(frozen=True)
class Sizes:
    """Of what a token has where channels belong to heads."""

    width: int
    head_width: int
    features: int

    def of(self, axes: Axes) -> int:
        """How many numbers."""
        heads = self.width // self.head_width
        return heads * (self.features if "e" in axes else 1) * (self.head_width if "d" in axes else 1)


def _of_heads(rec: Recurrence, facts: Facts, sizes: Sizes, itemsize: int) -> Cost:
    """As `cost`, every number counted as often as there is one of its kind."""
    known = leaf_axes(rec, [h for h, _ in facts.hoisted])
    read = facts.readout
    summed = axes_of(read.summands, known) if read else []
    known |= {leaf("d", f"z_{n}"): a for (n, _), a in zip(rec.totals, summed, strict=True)}

    def flops(roots: Iterable[Expr]) -> int:
        nodes = [n for n in walk(roots) if n.args]
        return sum(OPS[n.op].flops * sizes.of(a) for n, a in zip(nodes, axes_of(nodes, known), strict=True))

    sums = sum(map(sizes.of, summed))
    wide = (*facts.backward_wide.inputs, *facts.backward_wide.state) if facts.backward_wide else ()
    carried, k = max(itemsize, 4), len(rec.state)
    inputs = sum(sizes.of(a) * (itemsize if a else carried) for a in rec.input_axes)
    learned = sum(sizes.of(a) * itemsize for a in rec.input_axes if a)
    outputs = len(rec.outputs) * sizes.of("d") * itemsize
    pairs = zip(facts.pointwise, facts.seen, rec.state_axes, strict=True)
    kept = sum(sizes.of(a) * carried for before, after, a in pairs if before or after)
    kept += len(rec.totals) * sizes.of("") * carried
    return Cost(
        flops_forward=flops((*facts.update, *_read(facts))) + sums,
        flops_backward=flops((*backward_results(rec, facts), *wide, *_read_back(rec, facts))) + sums,
        flops_product=0,
        bytes_forward=inputs + outputs,
        bytes_kept=kept,
        bytes_backward=inputs + learned + outputs + kept,
        bytes_trace=0,
        bytes_state=sum(sizes.of(rec.state_axes[i]) for i in range(k)) * carried,
        bytes_traces=0,
        bytes_matrices=0,
    )


def _kept(rec: Recurrence, facts: Facts, itemsize: int) -> int:
    """Bytes a channel: one tensor per state variable that the backward reads, less what the outputs already hold."""
    total = 0
    for name, before, after in zip(rec.state, facts.pointwise, facts.seen, strict=True):
        read = before or after
        if read and not (name in rec.outputs and itemsize >= 4):
            total += max(itemsize, 4)
        elif not read and name == rec.recurrent:
            total += itemsize
    return total

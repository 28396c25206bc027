"""The ops that carry state through time, each behind one interface, so that one contract can be tested on all.

Notation: B rows, T steps. An op maps inputs [B, T, ...], a state [B, ...] and parameters to outputs and the next state.
"""

from __future__ import annotations

import importlib.util
import linecache
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cortexc import kernels
from cortexc.compiler.library.recurrences.agalite import EPS
from cortexc.compiler.library.recurrences.agalite import agalite as agalite_equations
from cortexc.compiler.recurrence import Recurrence, emit_module
from cortexc.kernels.recurrence import RecurrenceOp
from cortexc.kernels.segments import segment_ids

Tensors = tuple[Tensor, ...]
Run = Callable[[Tensors, Tensors, Tensors, Tensor | None], tuple[Tensor, Tensors]]


@dataclass(frozen=True)
class Case:
    """shapes: of inputs without B and T, state without B, parameters. Runs take (inputs, state, parameters, mask)."""

    name: str
    shapes: tuple[list[tuple[int, ...]], list[tuple[int, ...]], list[tuple[int, ...]]]
    sequence: Run
    reference: Run
    step: Run
    accumulators: int = 0  # how many parts of the state stay float32 under lower inputs
    positive: int | None = None  # the part of the state which is a sum of positive numbers, and divides
    detached: bool = False  # whether gradients stop at the state
    counter: int | None = None  # the part of the state which is int64
    counts_to: int = 0  # and its largest value at the start
    counts_from: int = 0  # its initial value

    def __str__(self) -> str:
        return self.name

    def draw(self, rows: int, steps: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensors, Tensors, Tensors]:
        """Random inputs, a random (not initial) state and parameters; leaves that require gradients."""
        generator = torch.Generator().manual_seed(seed)

        def leaf(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

        inputs, state, parameters = self.shapes
        carried = torch.float64 if dtype == torch.float64 else torch.float32
        state_dtypes = [carried if i < self.accumulators else dtype for i in range(len(state))]
        states = [leaf(rows, *s).detach().to(d).requires_grad_() for s, d in zip(state, state_dtypes, strict=True)]
        if self.positive is not None:
            states[self.positive] = (states[self.positive].detach().abs() + 1).requires_grad_()
        if self.counter is not None:
            states[self.counter] = torch.randint(self.counts_from, self.counts_to + 1, (rows,), generator=generator)
            if self.detached:  # empty slots of a memory hold zeros
                memory = states[0].detach()
                real = torch.arange(memory.shape[1]) >= memory.shape[1] - states[self.counter][:, None]
                states[0] = torch.where(real[..., None], memory, 0)
        return (
            tuple(leaf(rows, steps, *s) for s in inputs),
            tuple(states),
            tuple(leaf(*s) for s in parameters),
        )

    def initial(self, state: Tensors) -> Tensors:
        """The initial state, like `state`."""
        return tuple(torch.full_like(s, 0 if s.is_floating_point() else self.counts_from) for s in state)


def _conv(name: str, kernel: int, width: int, mixing: bool, bias: bool) -> Case:
    weight = (width, width if mixing else 1, kernel)

    def over(function: Callable[..., tuple[Tensor, Tensor]], sequence: bool) -> Run:
        def run(x: Tensors, s: Tensors, p: Tensors, mask: Tensor | None) -> tuple[Tensor, Tensors]:
            y, after = function(x[0], s[0], p[0], p[1] if bias else None, segment_ids(mask) if sequence else mask)
            return y, (after,)

        return run

    return Case(
        name,
        ([(width,)], [(kernel, width)], [weight, (width,)] if bias else [weight]),
        over(kernels.causal_conv, True),
        over(kernels.causal_conv_reference, True),
        over(kernels.causal_conv_step, False),
    )


def _mlstm(name: str, heads: int, width: int, chunk: int) -> Case:
    def over(function: Callable[..., Tensors], sequence: bool, **options: int) -> Run:
        def run(x: Tensors, s: Tensors, p: Tensors, mask: Tensor | None) -> tuple[Tensor, Tensors]:
            h, *after = function(*x, *s, segment_ids(mask) if sequence else mask, **options)
            return h, tuple(after)

        return run

    per_head, gate = (heads, width), (heads,)
    return Case(
        name,
        ([per_head, per_head, per_head, gate, gate], [(heads, width, width), (heads, width, 1), (heads, 1, 1)], []),
        over(kernels.mlstm, True, chunk_size=chunk),
        over(kernels.mlstm_reference, True),
        over(kernels.mlstm_step, False),
        accumulators=3,
    )


def _xl(name: str, heads: int, width: int, slots: int, inner: int) -> Case:
    size = heads * inner

    def positions(p: Tensors) -> Tensor:
        return kernels.relative_positions(slots, width, p[0].dtype, p[0].device)

    def relative(p: Tensors) -> Tensor:
        return (positions(p) @ p[5].T).unflatten(-1, (heads, inner))

    def over(function: Callable[..., Tensor]) -> Run:
        def run(x: Tensors, s: Tensors, p: Tensors, mask: Tensor | None) -> tuple[Tensor, Tensors]:
            segments = segment_ids(mask)
            context = torch.cat([s[0].detach(), x[0]], 1)
            q = (x[0] @ p[0].T).unflatten(-1, (heads, inner))
            k = (context @ p[1].T + p[2]).unflatten(-1, (heads, inner))
            v = (context @ p[3].T + p[4]).unflatten(-1, (heads, inner))
            return function(q, k, v, relative(p), p[6], p[7], s[1], segments), kernels.xl_memory(x[0], *s, segments)

        return run

    def step(x: Tensors, s: Tensors, p: Tensors, mask: Tensor | None) -> tuple[Tensor, Tensors]:
        q = (x[0] @ p[0].T).unflatten(-1, (heads, inner))
        y = kernels.xl_step(x[0], q, *s, *p[1:6], positions(p), p[6], p[7], mask)
        return y, kernels.xl_memory_step(x[0], *s, mask)

    square, bias, head = (size, width), (size,), (heads, inner)
    return Case(
        name,
        ([(width,)], [(slots, width), ()], [square, square, bias, square, bias, square, head, head]),
        over(kernels.xl_attention),
        over(kernels.xl_attention_reference),
        step,
        detached=True,
        counter=1,
        counts_to=slots,
    )


def _agalite(name: str, heads: int, width: int, eta: int, terms: int) -> Case:
    """Of a state, mirrored terms are equal, as every sequence leaves them."""
    op, eps = recurrence_op(agalite_equations(terms, EPS)), EPS

    def over(function: Callable[..., Tensors], *first: object, **options: object) -> Run:
        def run(x: Tensors, s: Tensors, p: Tensors, mask: Tensor | None) -> tuple[Tensor, Tensors]:
            mirrored = tuple(0.5 * (t + t.flip(1)) for t in s[:2])
            y, *after = function(*first, *x, *mirrored, *s[2:], mask, **options)
            return y, tuple(after)

        return run

    features = eta * width
    return Case(
        name,
        (
            [(heads, 5, width), (heads, 3, eta)],
            [(terms, heads, features), (terms, heads, width), (heads, features), ()],
            [],
        ),
        over(kernels.agalite, op, impl="torch"),
        over(kernels.agalite_reference, eps=eps),
        over(kernels.agalite_step, op, impl="torch"),
        accumulators=3,
        positive=2,
        counter=3,
        counts_to=9,
        counts_from=1,
    )


def recurrence_op(rec: Recurrence) -> RecurrenceOp:
    """The op of a generated module."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case_{rec.name}.py"
        path.write_text(emit_module(rec))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        linecache.getlines(str(path))  # Triton's jit reads the source, whose file goes
        spec.loader.exec_module(module)
    return module.OP


CASES = [
    _conv("conv", 4, 5, mixing=False, bias=True),
    _conv("conv-mixing", 3, 5, mixing=True, bias=True),
    _conv("conv-one-tap", 1, 5, mixing=False, bias=False),
    _conv("conv-no-tap", 0, 5, mixing=False, bias=False),
    _mlstm("mlstm", 3, 5, chunk=64),
    _mlstm("mlstm-short-chunks", 2, 4, chunk=4),
    _mlstm("mlstm-several-spans", 2, 3, chunk=1),
    _agalite("agalite", 2, 4, eta=3, terms=2),
    _agalite("agalite-three-terms", 1, 3, eta=2, terms=3),
    _xl("xl", 2, 6, slots=5, inner=3),
    _xl("xl-long-memory", 2, 4, slots=40, inner=2),
    _xl("xl-no-memory", 2, 4, slots=0, inner=3),
]

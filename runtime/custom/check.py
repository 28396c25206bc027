"""`check_core`: does a part keep the contract? Runs it and says in plain words what it does otherwise.

Notation: B rows, T steps, H width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from ...cortex_dsl.spec import Node
from ...kernels.foreign import leaves_of
from ..compile import compile
from ..module import CompiledStack

# The largest difference that is rounding: absolute in float64, relative to the largest number in float32.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}


@dataclass
class ContractReport:
    """What :func:`check_core` found: ``ok``, and ``problems`` as (rule, what happened)."""

    part: str
    passed: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self.ok:
            return f"{self.part} keeps the contract ({len(self.passed)} rules checked)"
        lines = [f"{self.part} breaks {len(self.problems)} of {len(self.passed) + len(self.problems)} rules:"]
        return "\n".join([*lines, *(f"- {rule}: {what}" for rule, what in self.problems)])


def check_core(
    part: nn.Module | Node,
    *,
    d_hidden: int = 16,
    rows: int = 3,
    steps: int = 9,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> ContractReport:
    """Check a core, scaffold or stack, as a module or as a config, against the rules that every part keeps.

    part: a MemoryCore, BaseScaffold or compiled stack (moved to ``dtype``, in eval mode, while it is checked), or a
    config, which is compiled for the ``eager`` backend at width ``d_hidden``. The inputs are ``[rows, steps, H]``.
    Returns a report; nothing is raised for what the part does wrong."""
    if steps < 6 or rows < 2:
        raise ValueError(f"check_core needs at least 2 rows and 6 steps; got rows={rows}, steps={steps}")
    if dtype not in TOLERANCES:
        raise ValueError(f"check_core compares in float64 or float32, not {dtype}")
    module = compile(part, d_hidden=d_hidden, backend="eager", dtype=dtype) if isinstance(part, Node) else part
    before = next((p.dtype for p in module.parameters()), dtype)
    training = module.training
    checker = _Checker(module.to(dtype).eval(), _width(module, d_hidden), rows, steps, dtype, seed)
    report = ContractReport(_name(part))
    # cuDNN's recurrent layers have no backward in eval mode and cut float32 to TF32.
    with torch.random.fork_rng(devices=[]), torch.backends.cudnn.flags(enabled=False):
        for rule, check in _RULES.items():
            try:
                problem = check(checker)
            except Exception as error:  # whatever the part raises is a finding
                problem = f"it raised {type(error).__name__}: {error}"
            if problem:
                report.problems.append((rule, problem))
            else:
                report.passed.append(rule)
    module.to(before).train(training)
    return report


def _name(part: nn.Module | Node) -> str:
    return part.pattern if isinstance(part, CompiledStack) else type(part).__name__


def _width(module: nn.Module, default: int) -> int:
    found = (getattr(module, name, None) for name in ("hidden_size", "d_hidden"))
    return next((w for w in found if isinstance(w, int)), default)


Run = tuple[Tensor, dict[str, Tensor]]


class _Checker:
    """Inputs, and runs of the part whose results can be compared."""

    def __init__(
        self, part: Callable[..., Any], width: int, rows: int, steps: int, dtype: torch.dtype, seed: int
    ) -> None:
        self.part, self.rows, self.steps, self.dtype = part, rows, steps, dtype
        random = torch.Generator().manual_seed(seed)
        self.device = next((p.device for p in part.parameters()), torch.device("cpu"))  # type: ignore[attr-defined]

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random, dtype=torch.float64).to(self.device, dtype)

        self.x, self.earlier = draw(rows, steps, width), draw(rows, 4, width)
        self.mask = torch.rand(rows, steps, generator=random) < 0.3
        self.mask[0, 0], self.mask[1, steps // 2] = True, True
        self.mask = self.mask.to(self.device)

    def warm(self) -> TensorDictBase:
        """A state that some steps have filled."""
        with torch.no_grad():
            return self.part(self.earlier)[1]

    def run(self, x: Tensor, state: Any = None, resets: Tensor | None = None, cut: int = 0, step: bool = False) -> Run:
        """All of x: in one call, cut before ``cut``, or step by step."""
        with torch.no_grad():
            if step:
                outputs = []
                for t in range(x.shape[1]):
                    y, state = self.part(x[:, t], state, resets=None if resets is None else resets[:, t])
                    outputs.append(y)
                return torch.stack(outputs, 1), self.leaves(state)
            pieces = [(0, cut), (cut, x.shape[1])] if cut else [(0, x.shape[1])]
            outputs = []
            for start, end in pieces:
                mask = None if resets is None else resets[:, start:end]
                y, state = self.part(x[:, start:end], state, resets=mask)
                outputs.append(y)
        return torch.cat(outputs, 1), self.leaves(state)

    @staticmethod
    def leaves(state: Any) -> dict[str, Tensor]:
        return leaves_of(state) if isinstance(state, TensorDictBase) else {}

    def differ(self, a: Run, b: Run, what: str) -> str:
        """What differs between two runs, in words; nothing where they agree."""
        if gap := self.gap(a[0], b[0]):
            where = _first_step(a[0], b[0]) if a[0].shape == b[0].shape and a[0].dim() == 3 else ""
            return f"{what}: y differs {gap}{where}"
        if a[1].keys() != b[1].keys():
            return f"{what}: the states hold {sorted(a[1])} and {sorted(b[1])}"
        return next((f"{what}: state {k} differs {g}" for k in a[1] if (g := self.gap(a[1][k], b[1][k]))), "")

    def gap(self, a: Tensor, b: Tensor) -> str:
        if a.shape != b.shape:
            return f"in shape, {list(a.shape)} and {list(b.shape)}"
        if not a.numel():
            return ""
        one, other = a.double(), b.double()
        scale = 1.0 if self.dtype == torch.float64 else float(other.nan_to_num().abs().max().clamp_min(1e-6))
        apart = torch.where(one.isnan() & other.isnan() | (one == other), 0.0, (one - other).abs())
        worst = float(apart.nan_to_num(nan=torch.inf).max())
        return "" if worst <= TOLERANCES[self.dtype] * scale else f"by {worst:.1e}"


def _first_step(a: Tensor, b: Tensor) -> str:
    """At which step two sequences part."""
    off = ((a - b).abs().nan_to_num(nan=torch.inf) > 1e-9).flatten(2).any(-1).any(0)
    return f", first at step {int(off.int().argmax())}" if bool(off.any()) else ""


def _shapes(c: _Checker) -> str:
    y, state = c.run(c.x)
    if y.shape != c.x.shape:
        return f"x has shape {list(c.x.shape)}, y has {list(y.shape)}"
    fresh = c.leaves(c.part.init_state(c.rows, device=c.device, dtype=c.dtype))  # type: ignore[attr-defined]
    if fresh.keys() != state.keys():
        return f"init_state holds {sorted(fresh)}, a call returns {sorted(state)}"
    for key, leaf in fresh.items():
        if leaf.shape != state[key].shape or leaf.dtype != state[key].dtype:
            now = state[key]
            return f"{key} starts as {leaf.dtype} {list(leaf.shape)} and comes back as {now.dtype} {list(now.shape)}"
    return ""


def _steps(c: _Checker) -> str:
    warm = c.warm()
    return c.differ(c.run(c.x, warm, step=True), c.run(c.x, warm), "steps against the sequence") or c.differ(
        c.run(c.x, warm, c.mask, step=True), c.run(c.x, warm, c.mask), "steps against the sequence, with resets"
    )


def _cuts(c: _Checker) -> str:
    whole = c.run(c.x, None, c.mask)
    cuts = ((at, c.run(c.x, None, c.mask, cut=at)) for at in (1, c.steps // 2, c.steps - 1))
    return next((d for at, run in cuts if (d := c.differ(run, whole, f"cut after step {at}"))), "")


def _resets(c: _Checker) -> str:
    """Every episode run by itself, from a fresh state, is the oracle."""
    y, _ = c.run(c.x, c.warm(), c.mask)
    for row in range(c.rows):
        starts = [t for t in range(c.steps) if c.mask[row, t]]
        for start, end in zip(starts, [*starts[1:], c.steps], strict=True):
            alone, _ = c.run(c.x[row : row + 1, start:end])
            if gap := c.gap(y[row : row + 1, start:end], alone):
                return f"after the reset of row {row} at step {start} y differs from a fresh start {gap}"
    if gap := c.gap(c.run(c.x, None, torch.zeros_like(c.mask))[0], c.run(c.x)[0]):
        return f"an all-false mask differs from no mask {gap}"
    return ""


def _reset_state(c: _Checker) -> str:
    warm, first = c.warm(), c.mask[:, 0]
    mask = torch.zeros_like(c.mask)
    mask[:, 0] = first
    by_hand = c.part.reset_state(warm, first)  # type: ignore[attr-defined]
    return c.differ(c.run(c.x, by_hand), c.run(c.x, warm, mask), "reset_state against resets")


def _isolation(c: _Checker) -> str:
    at, reset = c.steps // 3, c.steps // 2
    dirty = c.x.clone()
    dirty[0, at] = torch.nan
    mask = torch.zeros_like(c.mask)
    mask[0, reset] = True
    (y, state), (clean, clean_state) = c.run(dirty, None, mask), c.run(c.x, None, mask)
    if gap := c.gap(y[1:], clean[1:]):
        return f"NaN in row 0 changes another row {gap}: rows must not touch"
    if gap := c.gap(y[0, reset:], clean[0, reset:]):
        return f"NaN before a reset survives it ({gap}): select with torch.where, a product keeps NaN"
    found = ((k, c.gap(state[k], clean_state[k])) for k in state)
    return next((f"NaN before a reset survives in state {k} ({gap})" for k, gap in found if gap), "")


def _gradients(c: _Checker) -> str:
    x = c.x.clone().requires_grad_()
    mask = torch.zeros_like(c.mask)
    mask[:, c.steps // 2] = True
    y, _ = c.part(x, None, resets=mask)
    (g,) = torch.autograd.grad(y[:, c.steps // 2 :].sum(), x)
    if float(g[:, : c.steps // 2].abs().max()) > 0:
        return "a loss after a reset has a gradient before it"
    y, _ = c.part(x)
    (g,) = torch.autograd.grad(y[:, -1].sum(), x)
    return "" if bool(torch.isfinite(g).all()) else "the gradient to x is not finite"


def _causal(c: _Checker) -> str:
    at = c.steps // 2
    later = c.x.clone()
    later[:, at:] += 1.0
    gap = c.gap(c.run(later)[0][:, :at], c.run(c.x)[0][:, :at])
    return f"inputs from step {at} on change earlier outputs {gap}" if gap else ""


def _pure(c: _Checker) -> str:
    warm, x, mask = c.warm(), c.x.clone(), c.mask.clone()
    before = {k: v.clone() for k, v in leaves_of(warm).items()}
    first = c.run(x, warm, mask)
    c.run(x, warm)
    for resets in (None, mask[:, :1]):
        c.run(x[:, :1], warm, resets, step=True)
    c.part.reset_state(warm, mask[:, 0])  # type: ignore[attr-defined]
    after = leaves_of(warm)
    if before.keys() != after.keys():
        return f"the caller's state had {sorted(before)} and now has {sorted(after)}"
    for key, leaf in before.items():
        if c.gap(after[key], leaf):
            return f"the caller's state {key} is written in place"
    if not (torch.equal(x, c.x) and torch.equal(mask, c.mask)):
        return "the caller's x or resets is written in place"
    return c.differ(c.run(x, warm, mask), first, "the same call twice")


def _fresh(c: _Checker) -> str:
    initial = c.part.init_state(c.rows, device=c.device, dtype=c.dtype)  # type: ignore[attr-defined]
    return c.differ(c.run(c.x, initial), c.run(c.x), "init_state against no state")


def _rows(c: _Checker) -> str:
    warm = c.warm()
    order = torch.arange(c.rows - 1, -1, -1, device=c.device)
    y, _ = c.run(c.x[order], warm[order])
    gap = c.gap(y, c.run(c.x, warm)[0][order])
    return f"rows in another order give other numbers {gap}" if gap else ""


_RULES: dict[str, Callable[[_Checker], str]] = {
    "shapes": _shapes,
    "steps equal the sequence": _steps,
    "cut anywhere": _cuts,
    "a reset is a fresh start": _resets,
    "reset_state is a reset": _reset_state,
    "nothing survives a reset": _isolation,
    "gradients": _gradients,
    "causal": _causal,
    "pure": _pure,
    "no state is the initial state": _fresh,
    "rows are independent": _rows,
}

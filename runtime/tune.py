"""`tune`: measure what the kernels of a stack can be launched with on this GPU, and keep what is faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..cortex_dsl.spec import Node
from ..kernels._triton import AVAILABLE, INTERPRETED, disabled
from ..kernels.recurrence.choices import Key, difference
from ..kernels.recurrence.search import Found, candidates, search
from ..kernels.recurrence.tuning import Call, device_name, watching
from . import tuned
from .compile import compile
from .module import CompiledStack


@dataclass(frozen=True)
class Tuning:
    """What `tune` did: the kernels it saw, what it found for each, the file that keeps it; `note` says it in a line."""

    kernels: tuple[Key, ...] = ()
    found: tuple[Found, ...] = ()
    path: Path | None = None
    note: str = ""


def tune(
    pattern: str | Node | CompiledStack,
    *,
    d_hidden: int = 256,
    batch: int = 16,
    seq_len: int = 256,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    seconds: float = 10.0,
    dry_run: bool = False,
    progress: Callable[[str], object] = print,
) -> Tuning:
    """Measure the recurrence kernels that a stack runs, forward and backward, for ``x [batch, seq_len, d_hidden]``.

    ``pattern`` is what :func:`cortexc.compile` takes, or a stack; ``seconds`` is the most that one kernel takes. What
    is faster than built in and gives the same numbers is kept in the cache folder, and used by every later call on such
    a device, of this process too. ``dry_run`` tells what would be measured. ``progress`` gets one line a kernel. Where
    no GPU or no Triton is there is nothing to tune: ``note`` says why. Raises what ``compile`` raises."""
    stack = pattern
    if not isinstance(stack, CompiledStack):
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if reason := _nothing(torch.device(device), dry_run):
            return Tuning(note=reason)
        stack = compile(stack, d_hidden=d_hidden, dtype=dtype, device=device)
    elif reason := _nothing(stack.device, dry_run):
        return Tuning(note=reason)
    calls = observe(stack, batch, seq_len)
    if not calls:
        return Tuning(note=f"nothing to tune: no kernel of a recurrence runs in {stack.pattern!r} (see cortexc show)")
    if dry_run:
        for key, call in calls.items():
            progress(_plan(key, call))
        return Tuning(
            tuple(calls), note=f"{len(calls)} kernels, {seconds * len(calls):.0f} s at most; nothing measured"
        )
    found: list[Found] = []
    path = None
    try:
        with torch.cuda.device(stack.device):
            for key, call in calls.items():
                found.append(search(key, call, seconds))
                progress(str(found[-1]))
    finally:  # an interrupted run keeps what it has
        if found:
            path = tuned.keep(device_name(stack.device), found)
            stack.epoch += 1  # graphs that were captured run the choices of then
    better = sum(one.better for one in found)
    return Tuning(tuple(calls), tuple(found), path, f"{better} of {len(found)} kernels faster than built in: {path}")


def observe(stack: CompiledStack, batch: int, seq_len: int) -> dict[Key, Call]:
    """The kernels of recurrences that one forward and backward of a stack launches. Its parameters get no gradient."""
    x = torch.randn(batch, seq_len, stack.d_hidden, dtype=stack.dtype, device=stack.device, requires_grad=True)
    slots = stack.adapter.num_slots if stack.adapter else 1
    routes = torch.arange(batch, device=x.device) % slots if stack.adapter else None
    with watching() as calls, torch.enable_grad():
        y, _ = stack(x, stack.leaves(x, None), None, route_ids=routes, flat=True, record=False)
        torch.autograd.grad(y, x, torch.ones_like(y))
    return calls


def _nothing(device: torch.device, dry_run: bool) -> str:
    """Why there is nothing to tune; empty where there is."""
    if not AVAILABLE:
        return "nothing to tune: triton is not installed, so no kernel of ours runs"
    if disabled():
        return "nothing to tune: Triton is switched off (see cortexc doctor)"
    if device.type != "cuda" and not (INTERPRETED and dry_run):
        return "nothing to tune: there is no GPU here, and on a CPU recurrences run as torch operators"
    return ""


def _plan(key: Key, call: Call) -> str:
    built_in, others = candidates(key, call)
    return f"{key}  " + ("; ".join(difference(c, built_in) for c in others) or "nothing else fits")

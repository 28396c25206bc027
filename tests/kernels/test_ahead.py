"""Launches launch; in a rehearsal they only compile, in the backward too, and nothing of it remains afterwards."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cortexc.kernels import ahead
from cortexc.kernels.ahead import compile_ahead, launch, rehearsing

from .ahead import pretend_a_compiler

CPU = torch.device("cpu")


class Kernel:
    """Stands for a kernel of Triton."""

    def __init__(self) -> None:
        self.launched: list[tuple[object, ...]] = []
        self.compiled: list[tuple[object, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *args, **options: self.launched.append((grid, *args, options))

    def warmup(self, *args: object, grid: tuple[int, ...], **options: object) -> None:
        self.compiled.append((grid, *args, options))


class Through(torch.autograd.Function):
    """One launch forward and one backward."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, x: Tensor) -> Tensor:
        ctx.kernel = kernel
        launch(kernel, (1,))("forward")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        launch(ctx.kernel, (2, 3))("backward", num_warps=4)
        return None, grads[0] * float("nan")


@pytest.fixture(autouse=True)
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_a_compiler(monkeypatch)


def both(kernel: Kernel) -> None:
    x = torch.ones(2, requires_grad=True)
    Through.apply(kernel, x).sum().backward()


def test_every_launch_can_be_rehearsed() -> None:
    """`kernel[grid](…)` written out would run in a rehearsal, on what others did not compute."""
    folder = Path(ahead.__file__).parent
    found = [
        f"{path.relative_to(folder)}:{call.lineno}"
        for path in folder.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Subscript)
        if not isinstance(call.func.slice, ast.Constant)
    ]
    assert found == []


EXPECTED = [((1,), "forward", {}), ((2, 3), "backward", {"num_warps": 4})]


def test_launches() -> None:
    kernel = Kernel()
    both(kernel)
    assert kernel.launched == EXPECTED and kernel.compiled == []


def test_a_rehearsal_compiles_both_directions() -> None:
    """Anomaly detection, which would stop at a NaN, is for the real backward."""
    kernel = Kernel()
    with torch.autograd.set_detect_anomaly(True):
        compile_ahead(lambda: both(kernel), CPU)
        assert torch.is_anomaly_enabled()
    assert kernel.compiled == EXPECTED and kernel.launched == []
    both(kernel)
    assert kernel.launched == EXPECTED and not rehearsing()


def test_an_error_ends_the_rehearsal() -> None:
    kernel = Kernel()

    def fails() -> None:
        launch(kernel, (1,))()
        raise ValueError("no such tile")

    for _ in range(2):
        with pytest.raises(ValueError, match="no such tile"):
            compile_ahead(fails, CPU)
    assert not rehearsing() and torch.autograd.is_multithreading_enabled()
    launch(kernel, (1,))()
    assert len(kernel.compiled) == 2 and len(kernel.launched) == 1


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEXC_REHEARSE", "0")
    kernel = Kernel()
    compile_ahead(lambda: both(kernel), CPU)
    assert kernel.compiled == kernel.launched == []

"""check_core finds what it says it finds: for every rule a part that breaks it, and only that."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

import cortexc
from cortexc import MemoryCore, check_core
from cortexc.config import LSTMCoreConfig

from .custom_parts import GRUConfig

Update = Callable[["Leaky", Tensor, Any], tuple[Tensor, Any]]


class Leaky(MemoryCore):
    """h ← h/2 + x, y = h + x; sound. Subclasses below each break a rule."""

    def __init__(self) -> None:
        super().__init__(hidden_size=6)

    def init_state(self, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        h = torch.zeros(batch, self.hidden_size, device=device, dtype=dtype)
        return TensorDict({"h": h}, batch_size=[batch])

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        return self.scan(self.update, x, state, resets)

    def update(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = state["h"] / 2 + x
        return h + x, TensorDict({"h": h}, batch_size=[x.shape[0]])


class IgnoresResetsInSteps(Leaky):
    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        return self.scan(self.update, x, state, None if x.dim() == 2 else resets)


class IgnoresResets(Leaky):
    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        return self.scan(self.update, x, state)


class Multiplies(Leaky):
    """Resets by a product, which keeps NaN."""

    def reset_state(self, state: Any, mask: Tensor) -> TensorDict:
        return TensorDict({"h": state["h"] * ~mask[:, None]}, batch_size=[mask.shape[0]])


class ResetsElsewhere(Leaky):
    """forward resets well, reset_state to ones."""

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        return MemoryCore.scan(_Sound(self), self.update, x, state, resets)  # type: ignore[arg-type]

    def reset_state(self, state: Any, mask: Tensor) -> TensorDict:
        return TensorDict({"h": torch.where(mask[:, None], 1.0, state["h"])}, batch_size=[mask.shape[0]])


class _Sound:
    def __init__(self, core: Leaky) -> None:
        self.core = core

    def reset_state(self, state: Any, mask: Tensor) -> TensorDict:
        return MemoryCore.reset_state(self.core, state, mask)


class LooksAhead(Leaky):
    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        y, after = super().forward(x, state, resets=resets)
        return (y if x.dim() == 2 else y + x.mean(1, keepdim=True)), after


class MixesRows(Leaky):
    def update(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, after = super().update(x, state)
        return y + x[:1], after


class WritesInPlace(Leaky):
    def update(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().update(x, TensorDict({"h": state["h"].mul_(0.9)}, batch_size=[x.shape[0]]))


class Grows(Leaky):
    def update(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, after = super().update(x, state)
        after["extra"] = x
        return y, after


class SequencesOnly(Leaky):
    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        _rows, _steps, _width = x.shape
        return super().forward(x, state, resets=resets)


def findings(part: Any, **options: Any) -> dict[str, str]:
    return dict(check_core(part, **options).problems)


def test_sound_parts_pass() -> None:
    report = check_core(Leaky())
    assert report.ok and len(report.passed) == 11
    assert str(report) == "Leaky keeps the contract (11 rules checked)"
    assert check_core(GRUConfig(), dtype=torch.float32).ok
    assert check_core(LSTMCoreConfig(), d_hidden=8, steps=6, rows=2).ok
    assert check_core(cortexc.compile("AXMS", d_hidden=8, backend="eager")).ok


@pytest.mark.parametrize(
    ("broken", "rules"),
    [
        (IgnoresResetsInSteps, {"steps equal the sequence": "with resets: y differs by .* first at step 0"}),
        (
            IgnoresResets,
            {
                "a reset is a fresh start": "after the reset of row 0 at step 0 y differs",
                "reset_state is a reset": "y differs",
                "nothing survives a reset": "select with torch.where",
                "gradients": "a loss after a reset has a gradient before it",
            },
        ),
        (Multiplies, {"nothing survives a reset": "NaN before a reset survives it .* a product keeps NaN"}),
        (ResetsElsewhere, {"reset_state is a reset": "y differs by"}),
        (SequencesOnly, {"steps equal the sequence": "it raised ValueError: not enough values", "pure": "ValueError"}),
        (Grows, {"shapes": r"init_state holds \['h'\], a call returns \['extra', 'h'\]"}),
    ],
)
def test_finds(broken: type[Leaky], rules: dict[str, str]) -> None:
    found = findings(broken())
    for rule, text in rules.items():
        assert rule in found
        assert re.search(text, found[rule]), found[rule]
    if broken is not Grows:
        assert found.keys() == rules.keys()


@pytest.mark.parametrize(
    ("broken", "rule", "text"),
    [
        (LooksAhead, "causal", "inputs from step 4 on change earlier outputs"),
        (MixesRows, "rows are independent", "rows in another order give other numbers"),
        (WritesInPlace, "pure", "the caller's state h is written in place"),
    ],
)
def test_finds_among_others(broken: type[Leaky], rule: str, text: str) -> None:
    assert text in findings(broken())[rule]


def test_leaves_the_module_as_it_was() -> None:
    module = cortexc.compile(GRUConfig(hidden_size=4), backend="eager").train()
    before = torch.get_rng_state()
    assert check_core(module).ok
    assert module.training and module.dtype == torch.float32
    assert torch.equal(torch.get_rng_state(), before)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 2 rows and 6 steps; got rows=1, steps=9"):
        check_core(Leaky(), rows=1)
    with pytest.raises(ValueError, match=r"compares in float64 or float32, not torch\.bfloat16"):
        check_core(Leaky(), dtype=torch.bfloat16)

"""Other people's stacks, for comparison only: each is used if it is importable and is never a dependency."""

import importlib.util
import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cortexc.benchmark import Work


def cortexcore(work: Work, *, compiled: bool = False) -> Callable[[], nn.Module] | None:
    """A maker of cortexcore's stack for patterns of the form `LETTERS xN`; None if it is not installed."""
    match = re.fullmatch(r"([A-Za-z^]+)(?: x(\d+))?", work.pattern)
    # cortexcore imports transformers at the top although a stack does not need it.
    if match is None or any(importlib.util.find_spec(name) is None for name in ("cortex", "transformers")):
        return None

    def make() -> nn.Module:
        from cortex.stacks import build_cortex_auto_stack

        stack = build_cortex_auto_stack(
            d_hidden=work.d_hidden,
            num_layers=int(match[2] or 1),
            pattern=match[1],
            compile_blocks=compiled,
        )
        return stack.to(work.device, work.torch_dtype)

    return make


class LSTM(nn.Module):
    """torch.nn.LSTM behind the contract of a stack: the cost that a user pays without any of this."""

    def __init__(self, work: Work, layers: int) -> None:
        super().__init__()
        self.net = nn.LSTM(work.d_hidden, work.d_hidden, layers, batch_first=True)
        self.to(work.device, work.torch_dtype)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x is (B, T, H)."""
        return self.net(x, state)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x is (B, H)."""
        y, state = self.net(x[:, None], state)
        return y[:, 0], state


def torch_lstm(work: Work) -> Callable[[], nn.Module]:
    """A maker of an LSTM with as many layers as the pattern repeats."""
    match = re.search(r" x(\d+)$", work.pattern)
    layers = int(match[1]) if match else 1
    return lambda: LSTM(work, layers)


def visible_gpu() -> str:
    """`cuda` if torch can use one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"

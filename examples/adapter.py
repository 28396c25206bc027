"""Adapters: new capacity in a trained stack, which at first changes nothing.

    python examples/adapter.py

A small stack learns to repeat its input one step late. Its layers are then wrapped in adapters, the old weights are
loaded under them and frozen, and only the adapters learn a new task: two steps late. With the adapters' gates at zero
the old stack is back. Notation: B rows, T steps, H width.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cortexc import CortexStackConfig, build_cortex
from cortexc.config import AdapterScaffoldConfig, LSTMCoreConfig, PostUpScaffoldConfig
from cortexc.runtime import CompiledStack

WIDTH, LAYERS, SIGNALS = 24, 2, 3


def layer() -> PostUpScaffoldConfig:
    return PostUpScaffoldConfig(core=LSTMCoreConfig())


def adapted(stack: CompiledStack, bottleneck: int) -> CompiledStack:
    """The stack with an adapter around every layer: its own weights frozen, the adapters' free, the same function."""
    config = CortexStackConfig(
        d_hidden=WIDTH,
        scaffolds=[AdapterScaffoldConfig(scaffold=layer(), bottleneck=bottleneck)] * LAYERS,
        post_norm=False,
    )
    wrapped = build_cortex(config)
    weights = {_under_wrapped(name): value for name, value in stack.state_dict().items()}
    missing, surplus = wrapped.load_state_dict(weights, strict=False)
    assert not surplus and all("wrapped" not in name for name in missing)
    for name, p in wrapped.named_parameters():
        p.requires_grad_("wrapped" not in name)
    return wrapped


def _under_wrapped(name: str) -> str:
    """``layers.0.core.weight`` -> ``layers.0.wrapped.core.weight``."""
    head, number, rest = name.split(".", 2)
    return f"{head}.{number}.wrapped.{rest}"


def signals(rows: int, steps: int) -> Tensor:
    """Noise in a few channels of x (B, T, H), nothing in the others."""
    return nn.functional.pad(torch.randn(rows, steps, SIGNALS), (0, WIDTH - SIGNALS))


def late(x: Tensor, steps: int) -> Tensor:
    return nn.functional.pad(x, (0, 0, steps, 0))[:, : x.shape[1]]


def train(stack: CompiledStack, delay: int, updates: int) -> tuple[float, float]:
    """First and last loss of learning to repeat x (B, T, H) so many steps late."""
    optimizer = torch.optim.AdamW([p for p in stack.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(updates):
        x = signals(32, 12)
        loss = nn.functional.mse_loss(stack(x)[0][..., :SIGNALS], late(x, delay)[..., :SIGNALS])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    base = build_cortex(CortexStackConfig(d_hidden=WIDTH, scaffolds=[layer()] * LAYERS, post_norm=False))
    first, last = train(base, 1, options.steps)
    print(f"one step late: loss {first:.3f} -> {last:.3f}")

    stack = adapted(base, bottleneck=16)
    x = torch.randn(4, 12, WIDTH)
    print(f"with adapters, before training: largest change {(stack(x)[0] - base(x)[0]).abs().max().item():.1e}")
    free = sum(p.numel() for p in stack.parameters() if p.requires_grad)
    print(f"adapters: {free} of {sum(p.numel() for p in stack.parameters())} parameters are free")
    first, last = train(stack, 2, options.steps)
    print(f"two steps late: loss {first:.3f} -> {last:.3f}")

    with torch.no_grad():
        for one in stack.layers:
            one.gate.zero_()
    print(f"gates at zero: largest change {(stack(x)[0] - base(x)[0]).abs().max().item():.1e}")


if __name__ == "__main__":
    main()

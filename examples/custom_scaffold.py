"""A scaffold of your own, around cores of every kind.

    python examples/custom_scaffold.py

`GatedResidual` adds a learned share of the core's answer to its input: y = x + σ(g + b) ⊙ core(norm(x)), one gate for
each channel. The same class stands around a compiled core, around a whole stack used as one core, and in a column
beside built-in experts. Notation: B rows, T steps, H width.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cortexc import BaseScaffold, CortexStackConfig, ScaffoldConfig, check_core, register_scaffold
from cortexc.cells import XLCellConfig
from cortexc.config import AxonCoreConfig, LSTMCoreConfig, PassThroughScaffoldConfig, mLSTMCoreConfig
from cortexc.stacks import build_cortex_auto_stack

WIDTH = 32


class GatedResidualScaffoldConfig(ScaffoldConfig):
    """``core`` comes from ScaffoldConfig; the core works at ``d_hidden`` unless ``core_width`` says otherwise."""

    gate_bias: float = 0.0


@register_scaffold(GatedResidualScaffoldConfig)
class GatedResidualScaffold(BaseScaffold):
    def __init__(self, cfg: GatedResidualScaffoldConfig, d_hidden: int) -> None:
        super().__init__(cfg, d_hidden)  # makes self.core
        self.norm = nn.LayerNorm(d_hidden)
        self.gate = nn.Parameter(torch.full((d_hidden,), cfg.gate_bias))

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        y, state = self.run_core(self.norm(x), state, resets=resets)
        return x + torch.sigmoid(self.gate) * y, state


def layers() -> dict[str, ScaffoldConfig]:
    """The same scaffold around different cores."""
    pair = CortexStackConfig(scaffolds=[PassThroughScaffoldConfig(core=LSTMCoreConfig())] * 2)
    return {
        "a compiled core": GatedResidualScaffoldConfig(core=mLSTMCoreConfig(), gate_bias=-1.0),
        "another": GatedResidualScaffoldConfig(core=AxonCoreConfig(use_srht=True)),
        "a stack as a core": GatedResidualScaffoldConfig(core=pair),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    for name, config in layers().items():
        print(f"{name}: {check_core(config, d_hidden=WIDTH)}")
    mixed = [GatedResidualScaffoldConfig(core=mLSTMCoreConfig()), XLCellConfig()]
    stack = build_cortex_auto_stack(d_hidden=WIDTH, layers=[mixed, *([layer] for layer in layers().values())])
    state = stack.init_state(batch=1)
    keys = sorted({"/".join(key[:3]) for key in state.keys(include_nested=True, leaves_only=True)})
    print("state:", *keys, sep="\n  ")

    # A moving average of noise: the gates learn how much of the memory to let through.
    optimizer = torch.optim.AdamW(stack.parameters(), lr=3e-3)
    losses = []
    for _ in range(options.steps):
        x = torch.randn(16, 24, WIDTH)
        wanted = x.cumsum(1) / torch.arange(1, 25).view(1, -1, 1)
        y, _ = stack(x)
        loss = nn.functional.mse_loss(y, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    gates = [m.gate for m in stack.modules() if isinstance(m, GatedResidualScaffold)]
    print("mean gate of each:", *(f"{torch.sigmoid(g).mean().item():.2f}" for g in gates))


if __name__ == "__main__":
    main()

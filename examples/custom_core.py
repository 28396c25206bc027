"""A core of your own, as a token beside the built-in ones, on a task that needs memory.

    python examples/custom_core.py

Each row of a batch is a run of episodes: the first symbol of an episode must be named at its end, many noise symbols
later. The core is torch's GRU; the stack mixes it with an sLSTM in one column. Notation: B rows, T steps, H width.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

import cortexc
from cortexc import CoreConfig, MemoryCore, check_core, register_core, register_token

SYMBOLS, EPISODE, WIDTH = 4, 6, 24


class GRUCoreConfig(CoreConfig):
    """Its options are checked like those of built-in cores; ``hidden_size`` is filled in by what stands around it."""

    num_layers: int = 1


@register_core(GRUCoreConfig)
class GRUCore(MemoryCore):
    """torch.nn.GRU with a state that can be carried, cut and reset. ``x [B, T, H]`` or ``[B, H]``, y alike."""

    def __init__(self, cfg: GRUCoreConfig) -> None:
        super().__init__(hidden_size=cfg.hidden_size)
        self.num_layers = cfg.num_layers
        self.net = nn.GRU(self.hidden_size, self.hidden_size, num_layers=cfg.num_layers, batch_first=True)

    def init_state(self, batch: int, *, device: torch.device | str, dtype: torch.dtype) -> TensorDict:
        h = torch.zeros(batch, self.num_layers, self.hidden_size, device=device, dtype=dtype)
        return TensorDict({"h": h}, batch_size=[batch])

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, TensorDict]:
        if resets is not None:
            return self.scan(self.forward, x, state, resets)  # step by step: rows that are reset start afresh
        y, h = self.net(x.view(x.shape[0], -1, x.shape[-1]), state["h"].transpose(0, 1).contiguous())
        return y.view_as(x), TensorDict({"h": h.transpose(0, 1)}, batch_size=[x.shape[0]])


@register_token("G")
def gru() -> GRUCoreConfig:
    """`G` in a pattern."""
    return GRUCoreConfig()


def batch(rows: int, steps: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Symbols (B, T), where episodes start (B, T), and what each episode started with (B, T)."""
    symbols = torch.randint(SYMBOLS, (rows, steps), generator=random)
    starts = (torch.arange(steps) % EPISODE == 0).expand(rows, steps)
    first = symbols[:, torch.arange(steps) // EPISODE * EPISODE]
    return symbols, starts, first


class Recall(nn.Module):
    def __init__(self, pattern: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS, WIDTH)
        self.stack = cortexc.compile(pattern, d_hidden=WIDTH)
        self.head = nn.Linear(WIDTH, SYMBOLS)

    def forward(self, symbols: Tensor, state: Any, resets: Tensor) -> tuple[Tensor, Any]:
        y, state = self.stack(self.embed(symbols), state, resets=resets)
        return self.head(y), state


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pattern", default="GS")
    parser.add_argument("--steps", type=int, default=80)
    options = parser.parse_args(arguments)

    print(check_core(GRUCoreConfig(num_layers=2)))
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    model = Recall(options.pattern)
    for row in model.stack.summary().rows:
        print(f"  {row.token or row.scaffold:20} {row.params:6} parameters, {row.flops_per_token:6} flops a token")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    print(f"accuracy at the end of an episode: {accuracy(model, random):.0%} (chance {1 / SYMBOLS:.0%})")
    for _ in range(options.steps):
        symbols, starts, first = batch(32, 2 * EPISODE, random)
        logits, _ = model(symbols, None, starts)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), first.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"after {options.steps} updates: {accuracy(model, random):.0%}")


@torch.no_grad()
def accuracy(model: Recall, random: torch.Generator) -> float:
    """Over episodes that arrive one symbol at a time, the state carried from step to step."""
    symbols, starts, first = batch(64, 3 * EPISODE, random)
    state, right = None, []
    for t in range(symbols.shape[1]):
        logits, state = model(symbols[:, t], state, starts[:, t])
        if (t + 1) % EPISODE == 0:
            right.append(logits.argmax(-1) == first[:, t])
    return torch.stack(right).float().mean().item()


if __name__ == "__main__":
    main()

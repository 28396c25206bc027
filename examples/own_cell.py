"""A cell of your own, from equations to a trained stack: docs/your_own_cell.md as one program.

    python examples/own_cell.py

The task: say the value that was marked last. Each step brings a number and now and then a mark; the stack must hold the
marked number until the next mark, which is what the gate of the cell below can learn.
"""

import argparse
from statistics import median

import torch
from torch import Tensor, nn

import cortexc
from cortexc.benchmark import clock, prepared_call
from cortexc.config import RecurrenceCoreConfig
from cortexc.equations import State, describe, recurrence, sigmoid, tanh

WIDTH = 32


@recurrence(inputs="u g", state="h", params="rate", outputs="h", start={"rate": (1.0, 4.0)})
def leaky(x, s, p):  # noqa: ANN001, ANN201 (symbols in, symbols out)
    """A leaky memory whose decay is part parameter, part gate."""
    keep = sigmoid(p.rate + x.g)
    return State(h=keep * s.h + (1.0 - keep) * tanh(x.u))


cortexc.register_recurrence(leaky, token="G")


def check_gradient() -> None:
    """The generated backward against finite differences, in float64, with a reset inside."""
    core = cortexc.compile(RecurrenceCoreConfig(cell="leaky"), d_hidden=3, backend="eager", dtype=torch.float64)
    names = [name for name, _ in core.named_parameters()]
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    resets = torch.tensor([[False, False, True, False], [False] * 4])

    def run(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        tensors = dict(zip(names, parameters, strict=True))
        y, state = torch.func.functional_call(core, tensors, (x, None, resets))
        return y, state["h"]

    assert torch.autograd.gradcheck(run, (x, *core.parameters()))
    print("gradient checked against finite differences")


def marked(batch: int, steps: int) -> tuple[Tensor, Tensor]:
    """Inputs [B, T, 2], a number and a mark at each step; targets [B, T], the number that was marked last."""
    numbers = torch.rand(batch, steps) * 2 - 1
    marks = torch.rand(batch, steps) < 0.2
    marks[:, 0] = True
    place = torch.where(marks, torch.arange(steps), 0).cummax(1).values
    return torch.stack([numbers, marks.float()], -1), numbers.gather(1, place)


def train(steps: int) -> None:
    """A stack of two columns, each an Axon and the cell above."""
    stack = cortexc.compile("AG x2", d_hidden=WIDTH)
    into, out = nn.Linear(2, WIDTH), nn.Linear(WIDTH, 1)
    optimiser = torch.optim.Adam([*stack.parameters(), *into.parameters(), *out.parameters()], lr=3e-3)
    for step in range(steps):
        inputs, targets = marked(32, 24)
        y, _ = stack(into(inputs))
        loss = (out(y).squeeze(-1) - targets).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step in (0, steps - 1):
            print(f"step {step + 1:>4}  loss {loss.item():.4f}")


def time_it(rounds: int) -> None:
    """The cell against torch's GRU, forward and backward, on this machine's CPU."""
    x = torch.randn(16, 128, 64)
    own = cortexc.compile(RecurrenceCoreConfig(cell="leaky"), d_hidden=64)
    for name, module in (("leaky", own), ("torch.nn.GRU", nn.GRU(64, 64, batch_first=True))):
        times = clock(prepared_call(module, x, "forward+backward"), "cpu", warmup=1, rounds=rounds)
        print(f"{name:<14} forward+backward {median(times):8.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300, help="of training")
    parser.add_argument("--rounds", type=int, default=5, help="of the benchmark")
    args = parser.parse_args()
    torch.manual_seed(0)
    print(describe(leaky))
    check_gradient()
    train(args.steps)
    time_it(args.rounds)


if __name__ == "__main__":
    main()

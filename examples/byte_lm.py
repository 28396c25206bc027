"""A byte-level language model on the help texts that every Python ships, with a compiled stack as its memory.

    cortexc compile "AXMS x4" --d-hidden 64 --out build      # writes build/axms_x4
    python examples/byte_lm.py --package build/axms_x4       # trains it for a minute on a CPU, or on a GPU

Every topic is an episode: the stack's state is carried from chunk to chunk and reset where a topic begins.
Notation: B streams, T bytes in a chunk, V = 256 byte values.
"""

import argparse
import importlib
import math
import random
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

import cortexc

V = 256
EDGE = 0  # the byte before a topic's first and after its last; no topic contains it

console = Console(soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Chunk:
    """T bytes of each of B streams: what goes in, what must come out, where a topic begins. Each is (B, T)."""

    inputs: Tensor
    targets: Tensor
    resets: Tensor


class Streams:
    """B endless streams of topics, each stream in its own shuffled order."""

    def __init__(self, texts: list[bytes], batch: int, seed: int, device: torch.device) -> None:
        self.device = device
        self.rows = [self._row(texts, random.Random(seed * 1000 + row)) for row in range(batch)]

    @staticmethod
    def _row(texts: list[bytes], rng: random.Random) -> Iterator[tuple[int, int, bool]]:
        while True:
            for text in rng.sample(texts, len(texts)):
                yield from zip((EDGE, *text), (*text, EDGE), (True, *[False] * len(text)), strict=True)

    def chunk(self, length: int) -> Chunk:
        """The next `length` bytes of every stream."""
        table = torch.tensor([[next(row) for _ in range(length)] for row in self.rows])  # (B, T, 3)
        inputs, targets, resets = table.to(self.device).unbind(-1)
        return Chunk(inputs, targets, resets.bool())


class ByteModel(nn.Module):
    """Embedding, compiled stack, head."""

    def __init__(self, stack: nn.Module, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, width)
        self.stack = stack
        self.head = nn.Linear(width, V)

    def forward(self, inputs: Tensor, state: Any, resets: Tensor | None) -> tuple[Tensor, Any]:
        """Logits for the next byte. # inputs (B, T) or, for one step, (B,)"""
        y, state = self.stack(self.embed(inputs), state, resets=resets)
        return self.head(y), state

    def loss(self, chunk: Chunk, state: Any) -> tuple[Tensor, Any]:
        """Mean nats per byte, and the state after the chunk."""
        logits, state = self(chunk.inputs, state, chunk.resets)
        return nn.functional.cross_entropy(logits.flatten(0, 1), chunk.targets.flatten()), state


def split_topics(seed: int, held_out: int) -> tuple[list[bytes], list[bytes]]:
    """Training topics and held-out topics; the same seed gives the same split.

    Some topics quote others or stand under two names, so one that shares a paragraph with the test is not trained on.
    """
    texts = sorted(set(topics.values()))
    random.Random(seed).shuffle(texts)
    test, rest = texts[:held_out], texts[held_out:]
    seen = set().union(*map(paragraphs, test))
    return [text.encode() for text in rest if not paragraphs(text) & seen], [text.encode() for text in test]


def paragraphs(text: str) -> set[str]:
    """The paragraphs that are long enough to be nobody's coincidence."""
    return {part for part in text.split("\n\n") if len(part) >= 80}


@torch.no_grad()
def bits_per_byte(model: ByteModel, texts: list[bytes], args: argparse.Namespace) -> float:
    """Over the same bytes of the same topics each time it is called, with state carried from chunk to chunk."""
    streams = Streams(texts, args.batch, args.seed, args.device)
    state, total = None, 0.0
    for _ in range(args.eval_chunks):
        loss, state = model.loss(streams.chunk(args.chunk), state)
        total += loss.item()
    return total / args.eval_chunks / math.log(2)


def train(model: ByteModel, texts: list[bytes], args: argparse.Namespace) -> tuple[int, float]:
    """Steps until `--steps` are done or `--seconds` are over; gives the number of steps and the time."""
    streams = Streams(texts, args.batch, args.seed + 1, args.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    state, started, done = None, time.perf_counter(), 0
    columns = (
        TextColumn("train"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[bits]:.3f} bits/byte"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("train", total=args.steps, bits=float("nan"))
        while done < args.steps and time.perf_counter() - started < args.seconds:
            for group in optimizer.param_groups:
                group["lr"] = args.lr * min(1.0, (done + 1) / 10)
            loss, state = model.loss(streams.chunk(args.chunk), state)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            state = state.detach()  # the gradient stops at the chunk's edge, the memory does not
            done += 1
            progress.update(task, advance=1, bits=loss.item() / math.log(2))
        # The clock may end the training before the last step: the bar then ends there too.
        progress.update(task, total=done)
    return done, time.perf_counter() - started


@torch.no_grad()
def sample(model: ByteModel, prompt: bytes, length: int, args: argparse.Namespace) -> str:
    """A line of text, one byte a step; it ends early at a line's end."""
    generator = torch.Generator().manual_seed(args.seed)
    state = model.stack.init_state(1, device=args.device, dtype=torch.float32)
    given, written = [EDGE, *prompt], list(prompt)
    for position in range(len(prompt) + length):
        byte = given[position] if position < len(given) else written[-1]
        embedded = model.embed(torch.tensor([byte], device=args.device))  # (1, H)
        y, state = model.stack.step(embedded, state)
        if position < len(prompt):
            continue
        scores = (model.head(y)[0] / args.temperature).float().cpu()
        written.append(int(torch.multinomial(scores.softmax(-1), 1, generator=generator)))
        if written[-1] in (EDGE, ord("\n")):
            break
    return bytes(written).decode(errors="replace").strip("\0")


def compare(model: ByteModel, make: Any, args: argparse.Namespace) -> None:
    """The same weights under two backends: how fast each is, and how far apart they are."""
    fused = args.fused or ("triton" if args.device.type == "cuda" else "inductor")
    console.print(f"compare {fused} with eager; the first call compiles and may take a minute")
    streams = Streams(split_topics(args.seed, args.held_out)[1], args.batch, args.seed, args.device)
    chunk = streams.chunk(args.chunk)
    with torch.no_grad():
        x = model.embed(chunk.inputs)  # (B, T, H)
    outputs, times, first = {}, {}, {}
    for backend in ("eager", fused):
        stack = make(backend)
        stack.load_state_dict(model.stack.state_dict())
        with torch.no_grad(), console.status(f"compare: {backend}") if console.is_terminal else nullcontext():
            first[backend] = clock(lambda s=stack: s(x, resets=chunk.resets), args.device)
            times[backend] = min(clock(lambda s=stack: s(x, resets=chunk.resets), args.device) for _ in range(5))
            outputs[backend] = stack(x, resets=chunk.resets)[0]
    difference = (outputs["eager"] - outputs[fused]).abs().max().item()
    console.print(
        f"{fused} against eager, forward of {args.batch}x{args.chunk} bytes: "
        f"{times[fused] * 1e3:.1f} ms against {times['eager'] * 1e3:.1f} ms ({times['eager'] / times[fused]:.2f}x), "
        f"first call {first[fused]:.1f} s, max difference {difference:.1e}"
    )


def clock(call: Any, device: torch.device) -> float:
    """Seconds of one call, the GPU's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def stack_maker(args: argparse.Namespace) -> Any:
    """A function from a backend's name to a fresh stack: from the written package, or compiled in memory."""
    if args.package is None:
        return lambda backend: cortexc.compile(
            args.pattern, d_hidden=args.d_hidden, backend=backend, device=args.device
        )
    folder = args.package.resolve()
    sys.path.insert(0, str(folder.parent))
    package = importlib.import_module(folder.name)
    return lambda backend: package.build(backend=backend, device=args.device)


def arguments() -> argparse.Namespace:
    """The flags. The defaults take about a minute and a half on two CPU cores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--package", type=Path, help="folder written by `cortexc compile`; without it the pattern is compiled here")
    add("--pattern", default="AXMS x4", help="used without --package (default: %(default)s)")
    add("--d-hidden", type=int, default=64, help="used without --package (default: %(default)s)")
    add("--backend", default="auto", help="backend that trains (default: %(default)s)")
    add("--fused", default="", help="backend held against eager (default: triton on a GPU, inductor on a CPU)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--batch", type=int, default=16, help="streams (default: %(default)s)")
    add("--chunk", type=int, default=64, help="bytes in a chunk (default: %(default)s)")
    add("--steps", type=int, default=200, help="training steps at most (default: %(default)s)")
    add("--seconds", type=float, default=60.0, help="training time at most (default: %(default)s)")
    add("--lr", type=float, default=4e-3, help="learning rate (default: %(default)s)")
    add("--held-out", type=int, default=8, help="topics kept for the test (default: %(default)s)")
    add("--eval-chunks", type=int, default=8, help="chunks read for bits per byte (default: %(default)s)")
    add("--prompt", default="The ", help="beginning of the sampled line (default: %(default)r)")
    add("--temperature", type=float, default=0.7, help="of the sampling (default: %(default)s)")
    add("--no-compare", action="store_true", help="leave out the comparison of two backends")
    add("--seed", type=int, default=0, help="of split, weights, order and sample (default: %(default)s)")
    args = parser.parse_args()
    name = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    args.device = torch.device(name)
    return args


def main() -> None:
    """Train, and tell bits per byte before and after."""
    args = arguments()
    torch.manual_seed(args.seed)
    make = stack_maker(args)
    stack = make(args.backend)
    report = stack.summary()
    model = ByteModel(stack, report.d_hidden).to(args.device)
    training, held_out = split_topics(args.seed, args.held_out)
    parameters = sum(p.numel() for p in model.parameters())
    console.print(f"stack {report.pattern}, d_hidden {report.d_hidden}, {parameters:,} parameters, on {args.device}")
    console.print(f"text {len(training)} topics, {sum(map(len, training)):,} bytes; {len(held_out)} topics held out")

    before = bits_per_byte(model, held_out, args)
    console.print(f"before {before:.3f} bits per byte on the held-out topics (uniform is {math.log2(V):.0f})")
    steps, seconds = train(model, training, args)
    rate = steps * args.batch * args.chunk / seconds
    console.print(f"trained {steps} steps in {seconds:.1f} s, {rate:,.0f} bytes/s")
    after = bits_per_byte(model, held_out, args)
    console.print(f"after {after:.3f} bits per byte on the held-out topics")
    console.print(f"sample in step mode: {sample(model, args.prompt.encode(), 80, args)!r}", markup=False)
    if not args.no_compare:
        compare(model, make, args)
    if not after < before:
        sys.exit("the model did not learn: bits per byte did not fall")


if __name__ == "__main__":
    main()

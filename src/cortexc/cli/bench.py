"""`cortexc bench`: the backends of one pattern side by side, on equal weights and equal input."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .frontend import DEFAULT_WIDTH, Dtype, DtypeOption, HiddenOption, PatternArgument, read_spec
from .output import ExitCode, JsonFlag, UserError, emit_json, say, say_field, size_text, terminal_width
from .table import Column, lay_out

if TYPE_CHECKING:
    from ..benchmark import Outcome, Work

BACKENDS = ("reference", "eager", "inductor", "triton", "auto")
COLUMNS = (
    Column("contender", "backend"),
    Column("mode", "mode"),
    Column("median", "median", right=True),
    Column("spread", "20-80 %", right=True, leaves=2),
    Column("speedup", "speedup", right=True),
    Column("first", "first call", right=True, leaves=1),
    Column("peak", "peak", right=True, leaves=3),
    Column("error", "rel. error", right=True),
)


def bench(
    pattern: PatternArgument,
    backends: Annotated[
        str, typer.Option("--backends", help="Comma-separated; the first one is the yardstick.")
    ] = "eager,inductor,triton",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Rows.")] = 16,
    seq_len: Annotated[int, typer.Option("--seq-len", min=1, help="Steps in a sequence.")] = 256,
    d_hidden: HiddenOption = None,
    dtype: DtypeOption = "float32",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    tf32: Annotated[bool, typer.Option("--tf32", help="Allow TF32 in float32 matrix products on a GPU.")] = False,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed calls at most, a mode.")] = 20,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Time at most, a backend and mode.")] = 10.0,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the result as JSON.")] = None,
    baseline: Annotated[Path | None, typer.Option("--baseline", help="A result file to hold this run against.")] = None,
    max_slowdown: Annotated[
        float, typer.Option("--max-slowdown", min=1.0, help="Exit 4 if slower than the baseline by this factor.")
    ] = 1.25,
    json_output: JsonFlag = False,
) -> None:
    """Time backends against each other: forward, forward+backward and one step."""
    names = chosen_backends(backends)
    before = read_baseline(baseline) if baseline else None
    width = read_spec(pattern, d_hidden).d_hidden or DEFAULT_WIDTH
    from .. import compile as compile_stack
    from ..benchmark import Work, compare, record, save

    work = Work(pattern, width, batch, seq_len, dtype, chosen_device(device, dtype), tf32)

    def make(backend: str) -> Any:
        return compile_stack(
            pattern, d_hidden=work.d_hidden, backend=backend, dtype=work.torch_dtype, device=work.device
        )

    from rich.console import Console
    from rich.status import Status

    with Status("", console=Console(stderr=True)) as status:
        outcomes = compare(
            [(name, partial(make, name)) for name in names],
            work,
            rounds=rounds,
            seconds=seconds,
            progress=lambda text: status.update(text),
        )
    document = record(work, outcomes)
    if out:
        save(document, out)
    if json_output:
        emit_json("bench", {key: value for key, value in document.items() if key != "schema"})
    else:
        print_outcomes(work, outcomes)
    judge(work, outcomes, before, max_slowdown)


def chosen_backends(text: str) -> list[str]:
    """The names, checked before anything slow begins."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in BACKENDS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(BACKENDS)}", param_hint="--backends")
    if not names:
        raise typer.BadParameter("name at least one backend", param_hint="--backends")
    return list(dict.fromkeys(names))


def chosen_device(text: str, dtype: Dtype) -> str:
    """A device that exists; `auto` takes a GPU if there is one."""
    import torch

    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise typer.BadParameter(
            f"{text!r} is not a device: auto, cpu, cuda or cuda:N", param_hint="--device"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device {text!r} is not here: torch sees {torch.cuda.device_count()} GPUs", "see `cortexc doctor`"
        )
    return text


def read_baseline(path: Path) -> dict[tuple[str, str], float]:
    """Median milliseconds by backend and mode."""
    try:
        outcomes = json.loads(path.read_text())["outcomes"]
        return {(t["contender"], t["mode"]): float(t["median_ms"]) for o in outcomes for t in o["timings"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a result file of `cortexc bench --out`: {error}") from error


def print_outcomes(work: "Work", outcomes: "list[Outcome]") -> None:
    """One line a backend and mode; the speedup is over the first backend."""
    yardstick = {timing.mode: timing.median_ms for timing in outcomes[0].timings}
    rows = []
    for outcome in outcomes:
        for index, timing in enumerate(outcome.timings):
            base = yardstick.get(timing.mode)
            rows.append(
                {
                    "contender": outcome.contender if index == 0 else "",
                    "mode": timing.mode,
                    "median": milliseconds(timing.median_ms),
                    "spread": f"{timing.low_ms:.2f}-{timing.high_ms:.2f}",
                    "speedup": f"{base / timing.median_ms:.2f}x" if base else "",
                    "first": f"{timing.first_call_s:.2f} s",
                    "peak": size_text(timing.peak_bytes) if timing.peak_bytes else "-",
                    "error": "" if index or outcome.relative_error is None else f"{outcome.relative_error:.1e}",
                }
            )
    say_field("pattern", work.pattern)
    say_field(
        "work",
        f"d_hidden {work.d_hidden}, B={work.batch}, T={work.seq_len}, {work.dtype}, {work.device}, "
        f"TF32 {'on' if work.tf32 else 'off'}",
    )
    say()
    lines, _ = lay_out(COLUMNS, rows, terminal_width())
    say(lines[0], style="bold")
    for line in lines[1:]:
        say(line)
    for outcome in outcomes:
        for note in outcome.notes:
            say_field("note", f"{outcome.contender}: {note}")
        if outcome.error:
            say_field("failed", f"{outcome.contender}: {outcome.error}")


def milliseconds(value: float) -> str:
    """Three significant figures or so, always in ms."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.2f} ms"


def judge(
    work: "Work", outcomes: "list[Outcome]", before: dict[tuple[str, str], float] | None, max_slowdown: float
) -> None:
    """Turns failures, wrong numbers and regressions into exit codes, the worst news first."""
    # Written so that NaN counts as wrong.
    wrong = [o for o in outcomes if o.relative_error is not None and not o.relative_error <= work.tolerance]
    for outcome in wrong:
        message = f"{outcome.contender} is off by {outcome.relative_error:.1e}, at most {work.tolerance:.0e} is allowed"
        say(f"error: {message}", error=True)
    if wrong:
        raise typer.Exit(ExitCode.CHECK_FAILED)
    if any(outcome.error for outcome in outcomes):
        for outcome in outcomes:
            if outcome.error:
                say(f"error: {outcome.contender} could not run: {outcome.error}", error=True)
        raise typer.Exit(ExitCode.USER_ERROR)
    slower = []
    for timing in (t for o in outcomes for t in o.timings):
        base = (before or {}).get((timing.contender, timing.mode))
        if base and timing.median_ms > base * max_slowdown:
            slower.append(f"{timing.contender} {timing.mode}: {timing.median_ms:.2f} ms, baseline {base:.2f} ms")
    for text in slower:
        say(f"error: slower than the baseline allows: {text}", error=True)
    if slower:
        raise typer.Exit(ExitCode.REGRESSION)

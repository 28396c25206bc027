"""`cortexc tune`: measure the kernels of a pattern on this GPU, and keep what is faster than built in."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .frontend import DEFAULT_WIDTH, DtypeOption, HiddenOption, PatternArgument, read_spec
from .output import JsonFlag, emit_json, say

if TYPE_CHECKING:
    from ..kernels.recurrence.search import Found


def tune(
    pattern: PatternArgument,
    d_hidden: HiddenOption = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Rows of the calls to come.")] = 16,
    seq_len: Annotated[int, typer.Option("--seq-len", min=1, help="Steps of the calls to come.")] = 256,
    dtype: DtypeOption = "float32",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    tf32: Annotated[bool, typer.Option("--tf32", help="Allow TF32 in float32 matrix products.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Time at most, a kernel.")] = 10.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be measured, and measure nothing.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Measure block sizes and warps of a pattern's kernels on this GPU; what is faster is used from then on."""
    width = read_spec(pattern, d_hidden).d_hidden or DEFAULT_WIDTH
    import torch

    from ..runtime import tune as run
    from .bench import chosen_device

    place = chosen_device(device, dtype)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    found = run(
        pattern,
        d_hidden=width,
        batch=batch,
        seq_len=seq_len,
        dtype=dtype,
        device=place,
        seconds=seconds,
        dry_run=dry_run,
        progress=(lambda line: None) if json_output else say,
    )
    if not json_output:
        say(found.note)
        return
    document = {
        "path": str(found.path) if found.path else None,
        "note": found.note,
        "kernels": [key._asdict() for key in found.kernels],
        "found": [_measured(one) for one in found.found],
    }
    emit_json("tune", document)


def _measured(one: "Found") -> dict[str, Any]:
    from ..kernels.recurrence.choices import values_of

    return {
        "key": one.key._asdict(),
        "built_in": values_of(one.built_in),
        "choice": values_of(one.choice),
        "built_in_ms": one.before,
        "ms": one.after,
        "tried": one.tried,
    }

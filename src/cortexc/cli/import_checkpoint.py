"""`cortexc import-checkpoint`: the weights of a cortexcore stack become a checkpoint of the same pattern here."""

from pathlib import Path
from typing import Annotated

import typer

from .frontend import Dtype
from .output import JsonFlag, UserError, emit_json, say_field
from .source import HELP, pattern_text


def import_checkpoint(
    source: Annotated[
        Path,
        typer.Argument(metavar="OLD", help="File with the state_dict of a cortexcore 0.1.x stack: .pt, .safetensors."),
    ],
    pattern: Annotated[str, typer.Option("--pattern", metavar="PATTERN", show_default=False, help=HELP)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="NEW", show_default=False, help="File to write.")],
    d_hidden: Annotated[
        int | None, typer.Option("--d-hidden", min=1, help="Width of input and output; the weights' own if not given.")
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Where the stack lies in a larger model: 'policy.stack.'.")
    ] = "",
    dtype: Annotated[
        Dtype | None, typer.Option("--dtype", metavar="NAME", help="Of the new file; the old one's if not given.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Bring the weights of a cortexcore stack over to the same pattern, and tell where the two differ on purpose."""
    text = pattern_text(pattern)
    from ..cortex_dsl import parse
    from ..runtime import CortexCheckpointError, cortexcore_differences, save_checkpoint
    from ..runtime import import_checkpoint as run

    spec = parse(text, source=text.source)
    try:
        # The names are the same for every backend, and eager is there on every machine.
        stack = run(source, spec, d_hidden=d_hidden, prefix=prefix, backend="eager", dtype=dtype)
        save_checkpoint(out, stack)
    except CortexCheckpointError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"{error.filename or out}: {error.strerror or error}") from error
    notes = cortexcore_differences(stack)
    parameters = sum(p.numel() for p in stack.parameters())
    name = str(stack.dtype).removeprefix("torch.")
    if json_output:
        emit_json(
            "import-checkpoint",
            {
                "pattern": stack.pattern,
                "d_hidden": stack.d_hidden,
                "dtype": name,
                "params": parameters,
                "path": str(out),
                "notes": notes,
            },
        )
        return
    say_field("pattern", stack.pattern)
    say_field("target", f"d_hidden {stack.d_hidden}, {name}, {parameters:,} parameters")
    say_field("wrote", str(out))
    for note in notes:
        say_field("note", note)
    say_field("use it", f"python -c \"import cortexc; stack, _ = cortexc.load_checkpoint('{out}')\"")

"""What a verb's PATTERN may be: a pattern, `recipe:NAME`, a `.cortex` file, or `-` for standard input."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import UserError

if TYPE_CHECKING:
    from ..cortex_dsl import CortexStackConfig, Diagnostic

SUFFIX = ".cortex"
HELP = f"A pattern, such as 'AXMS x4'; recipe:NAME; a {SUFFIX} file; or - for standard input."


class PatternText(str):
    """The text of an argument, which still knows where it came from."""

    __slots__ = ("source",)

    source: str

    @property
    def is_file(self) -> bool:
        return self.source.endswith(SUFFIX)


def pattern_text(argument: str) -> PatternText:
    """The text that an argument names."""
    if isinstance(argument, PatternText):
        return argument
    name, text = "<pattern>", argument
    try:
        if argument == "-":
            name, text = "<stdin>", sys.stdin.read()
        elif argument.endswith(SUFFIX):
            name, text = argument, Path(argument).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise UserError(f"cannot read {argument}: {error.strerror or error}") from error
    made = PatternText(text)
    made.source = name
    return made


def _callback(argument: str | None) -> str | None:
    return None if argument is None else pattern_text(argument)


PatternArgument = Annotated[str, typer.Argument(help=HELP, metavar="PATTERN", show_default=False, callback=_callback)]
PatternsArgument = Annotated[list[str], typer.Argument(help=HELP, metavar="PATTERN...", show_default=False)]
ImportFlag = Annotated[
    bool, typer.Option("--allow-import", help="Let the text import Python modules that register tokens.")
]


def read_pattern(
    argument: str, d_hidden: int | None = None, *, allow_import: bool = False
) -> "tuple[CortexStackConfig | None, CortexStackConfig | None, list[Diagnostic]]":
    """An argument as (the spec as written, the spec with every size, every complaint)."""
    from ..cortex_dsl import read, try_resolve
    from .frontend import DEFAULT_WIDTH

    text = pattern_text(argument)
    spec, found = read(text, source=text.source, allow_import=allow_import)
    if spec is None or any(d.severity == "error" for d in found):
        return spec, None, found
    resolved, problems = try_resolve(spec, d_hidden or spec.d_hidden or DEFAULT_WIDTH)
    return spec, None if problems else resolved, [*found, *problems]


def read_sound(
    argument: str, d_hidden: int | None = None, *, allow_import: bool = False
) -> "tuple[CortexStackConfig, CortexStackConfig]":
    """`read_pattern` where complaints end the verb; warnings are told."""
    import warnings

    from ..cortex_dsl import CortexSpecError, CortexSyntaxError, CortexWarning

    spec, resolved, found = read_pattern(argument, d_hidden, allow_import=allow_import)
    errors = [d for d in found if d.severity == "error"]
    if resolved is None or spec is None:
        raise CortexSyntaxError(errors) if spec is None or errors[0].path is None else CortexSpecError(errors)
    for diagnostic in found:
        warnings.warn(diagnostic.render(), CortexWarning, stacklevel=2)
    return spec, resolved

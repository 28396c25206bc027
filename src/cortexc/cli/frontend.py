"""What several verbs share on the way from the text to an artifact. Imports of the compiler wait until a verb runs."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .source import PatternArgument, PatternText, read_sound

if TYPE_CHECKING:
    from ..compiler.artifact import Artifact
    from ..cortex_dsl import CortexStackConfig

__all__ = [
    "DEFAULT_WIDTH",
    "Backend",
    "BackendOption",
    "Dtype",
    "DtypeOption",
    "HiddenOption",
    "PatternArgument",
    "build_artifact",
    "read_spec",
]

Backend = Literal["auto", "reference", "eager", "inductor", "triton"]
Dtype = Literal["float32", "bfloat16", "float16", "float64"]

DEFAULT_WIDTH = 256

HiddenOption = Annotated[
    int | None,
    typer.Option("--d-hidden", min=1, help="Width of input and output; 256 unless the pattern says otherwise."),
]
BackendOption = Annotated[
    Backend, typer.Option("--backend", metavar="NAME", help="auto, reference, eager, inductor or triton.")
]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", metavar="NAME", help="float32, bfloat16, float16 or float64.")]


def read_spec(pattern: str, d_hidden: int | None, *, allow_import: bool = False) -> "CortexStackConfig":
    """Text in, a spec with every size filled in out; errors point into the text."""
    return read_sound(pattern, d_hidden, allow_import=allow_import)[1]


def build_artifact(
    pattern: str, *, d_hidden: int | None, backend: Backend, dtype: Dtype, allow_import: bool = False
) -> "Artifact":
    """Text in, every generated file out; nothing is written and torch is not imported."""
    written, spec = read_sound(pattern, d_hidden, allow_import=allow_import)
    from ..compiler import build

    return build(spec, backend=backend, dtype=dtype, pattern=_one_line(pattern, written))


def _one_line(pattern: str, spec: "CortexStackConfig") -> str:
    """What the report calls the stack: the pattern as typed; for a file or a recipe, the canonical text."""
    named = isinstance(pattern, PatternText) and pattern.source != "<pattern>"
    if not named and "\n" not in pattern and not pattern.lstrip().startswith("recipe:"):
        return str(pattern)
    from ..compiler.alone import text_of

    return text_of(spec)

"""What several verbs share on the way from the text to an artifact. Imports of the compiler wait until a verb runs."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ..compiler.artifact import Artifact
    from ..cortex_dsl import CortexStackConfig

Backend = Literal["auto", "reference", "eager", "inductor", "triton"]
Dtype = Literal["float32", "bfloat16", "float16", "float64"]

DEFAULT_WIDTH = 256

PatternArgument = Annotated[str, typer.Argument(help='A pattern, such as "AXMS x4".', show_default=False)]
HiddenOption = Annotated[
    int | None,
    typer.Option("--d-hidden", min=1, help="Width of input and output; 256 unless the pattern says otherwise."),
]
BackendOption = Annotated[
    Backend, typer.Option("--backend", metavar="NAME", help="auto, reference, eager, inductor or triton.")
]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", metavar="NAME", help="float32, bfloat16, float16 or float64.")]


def read_spec(pattern: str, d_hidden: int | None) -> "CortexStackConfig":
    """Text in, a spec with every size filled in out; errors point into the text."""
    from ..cortex_dsl import parse, resolve

    spec = parse(pattern)
    return resolve(spec, d_hidden=d_hidden or spec.d_hidden or DEFAULT_WIDTH)


def build_artifact(pattern: str, *, d_hidden: int | None, backend: Backend, dtype: Dtype) -> "Artifact":
    """Text in, every generated file out; nothing is written and torch is not imported."""
    spec = read_spec(pattern, d_hidden)
    from ..compiler import build

    return build(spec, backend=backend, dtype=dtype, pattern=pattern)

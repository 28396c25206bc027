"""`cortexc show`: a pattern as a picture, or at any stage on its way to code."""

from typing import Annotated, Literal

import typer

from .frontend import BackendOption, DtypeOption, HiddenOption, build_artifact, read_spec
from .output import JsonFlag, UserError, emit_json, say
from .source import ImportFlag, PatternArgument, pattern_text

Stage = Literal["ast", "spec", "graph", "plan", "code", "kernels"]
Format = Literal["tree", "mermaid", "json"]


def show(
    pattern: PatternArgument,
    format_: Annotated[
        Format, typer.Option("--format", metavar="FORMAT", help="tree, mermaid or json: the layers and experts.")
    ] = "tree",
    stage: Annotated[
        Stage | None,
        typer.Option("--stage", metavar="STAGE", help="Instead: ast, spec, graph, plan, code or kernels."),
    ] = None,
    d_hidden: HiddenOption = None,
    backend: BackendOption = "auto",
    dtype: DtypeOption = "float32",
    measure: Annotated[
        bool, typer.Option("--measure", help="With --stage kernels: compile and time the recurrences (seconds).")
    ] = False,
    allow_import: ImportFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Print what a pattern is: its layers as a tree, a Mermaid chart or JSON, or one stage of the compiler."""
    if measure and stage != "kernels":
        raise UserError("--measure is about generated kernels", "add --stage kernels")
    if stage is not None:
        texts = _stage(pattern, stage, d_hidden, backend, dtype, allow_import=allow_import, measure=measure)
    else:
        from ..cortex_dsl import mermaid, tree

        spec = read_spec(pattern, d_hidden, allow_import=allow_import)
        draw = {"tree": tree, "mermaid": mermaid, "json": lambda s: s.model_dump_json(indent=2)}[format_]
        texts = {format_: draw(spec)}
    if json_output:
        emit_json("show", {"pattern": pattern, "stage": stage, "files": texts})
        return
    if not texts:
        say(f"{stage}: none; this plan generates no kernels of its own, it calls the ones that ship with cortexc")
    for path, text in texts.items():
        if len(texts) > 1:
            say(f"# ---- {path}", style="bold")
        say(text.rstrip("\n"))


def _stage(
    pattern: str,
    stage: Stage,
    d_hidden: int | None,
    backend: BackendOption,
    dtype: DtypeOption,
    *,
    allow_import: bool,
    measure: bool,
) -> dict[str, str]:
    """The texts of one stage, by file."""
    if stage == "ast":
        from ..cortex_dsl import parse_ast

        text = pattern_text(pattern)
        return {"ast": parse_ast(text, source=text.source).pretty()}
    artifact = build_artifact(pattern, d_hidden=d_hidden, backend=backend, dtype=dtype, allow_import=allow_import)
    if stage == "code":
        return {"module.py": artifact.files["module.py"]}
    if stage == "kernels":
        from .kernels import described

        return described(artifact, measure=measure)
    return {stage: artifact.stages[stage]}

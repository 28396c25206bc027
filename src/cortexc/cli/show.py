"""`cortexc show`: a pattern at any stage on its way to code."""

from typing import Annotated, Literal

import typer

from .frontend import BackendOption, DtypeOption, HiddenOption, PatternArgument, build_artifact
from .output import JsonFlag, emit_json, say

Stage = Literal["ast", "spec", "graph", "plan", "code", "kernels"]


def show(
    pattern: PatternArgument,
    stage: Annotated[
        Stage, typer.Option("--stage", metavar="STAGE", help="ast, spec, graph, plan, code or kernels.")
    ] = "graph",
    d_hidden: HiddenOption = None,
    backend: BackendOption = "auto",
    dtype: DtypeOption = "float32",
    json_output: JsonFlag = False,
) -> None:
    """Print what a pattern is at one stage: tree, spec, graph, plan or generated code."""
    if stage == "ast":
        from ..cortex_dsl import parse_ast

        texts = {"ast": parse_ast(pattern).pretty()}
    else:
        artifact = build_artifact(pattern, d_hidden=d_hidden, backend=backend, dtype=dtype)
        if stage == "code":
            texts = {"module.py": artifact.files["module.py"]}
        elif stage == "kernels":
            texts = {p: text for p, text in artifact.files.items() if p.startswith("kernels/") and text.strip()}
        else:
            texts = {stage: artifact.stages[stage]}
    if json_output:
        emit_json("show", {"pattern": pattern, "stage": stage, "files": texts})
        return
    if not texts:
        say(f"{stage}: none; this plan generates no kernels of its own, it calls the ones that ship with cortexc")
    for path, text in texts.items():
        if len(texts) > 1:
            say(f"# ---- {path}", style="bold")
        say(text.rstrip("\n"))

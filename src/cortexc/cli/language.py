"""The verbs of the language alone: check, fmt, expand, tokens, explain. They never import torch."""

from typing import Annotated

import typer

from .frontend import HiddenOption, PatternArgument, read_spec
from .output import JsonFlag, UserError, emit_json, say, terminal_width
from .table import Column, lay_out


def check(pattern: PatternArgument, d_hidden: HiddenOption = None, json_output: JsonFlag = False) -> None:
    """Check a pattern and its sizes; every error at once, with its place in the text."""
    resolved = read_spec(pattern, d_hidden)
    from ..cortex_dsl import format_spec, parse

    canonical = format_spec(parse(pattern, warnings="ignore"))
    if json_output:
        emit_json("check", {"ok": True, "pattern": canonical, "d_hidden": resolved.d_hidden})
    else:
        say(f"ok  {canonical}")


def fmt(pattern: PatternArgument, json_output: JsonFlag = False) -> None:
    """Print the canonical form of a pattern."""
    from ..cortex_dsl import format_spec, parse

    canonical = format_spec(parse(pattern))
    if json_output:
        emit_json("fmt", {"pattern": canonical, "changed": canonical != pattern})
    else:
        say(canonical)


def expand(pattern: PatternArgument, d_hidden: HiddenOption = None, json_output: JsonFlag = False) -> None:
    """Print the whole configuration of a pattern, every default and inferred size written out."""
    spec = read_spec(pattern, d_hidden)
    from ..cortex_dsl import format_spec, parse

    canonical = format_spec(parse(pattern, warnings="ignore"))
    if json_output:
        emit_json("expand", {"pattern": canonical, "spec": spec.model_dump(mode="json")})
    else:
        say(spec.model_dump_json(indent=2))


def tokens(json_output: JsonFlag = False) -> None:
    """List the tokens that a pattern may use."""
    from ..cortex_dsl import tokens as known_tokens

    rows = [{"token": token.name, "stands for": token.summary} for token in known_tokens()]
    if json_output:
        emit_json("tokens", {"tokens": [{"name": row["token"], "summary": row["stands for"]} for row in rows]})
        return
    lines, _ = lay_out((Column("token", "token"), Column("stands for", "stands for")), rows, terminal_width())
    say(lines[0], style="bold")
    for line in lines[1:]:
        say(line)


def explain(
    code: Annotated[str, typer.Argument(help="A code such as E301.", show_default=False)], json_output: JsonFlag = False
) -> None:
    """Explain the code of an error or a warning."""
    from ..cortex_dsl import explain as explanation

    try:
        text = explanation(code.upper())
    except KeyError as error:
        raise UserError(error.args[0], "codes stand in brackets in messages, as in error[E201]") from error
    if json_output:
        emit_json("explain", {"code": code.upper(), "text": text})
    else:
        say(text)

"""The verbs that read the language: check, expand, tokens, recipes, explain. They never import torch."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .frontend import HiddenOption
from .output import ExitCode, JsonFlag, UserError, emit_json, say, terminal_width
from .source import HELP, ImportFlag, PatternArgument, PatternsArgument, pattern_text, read_pattern, read_sound
from .table import Column, lay_out

if TYPE_CHECKING:
    from ..cortex_dsl import Diagnostic


def check(
    patterns: PatternsArgument,
    d_hidden: HiddenOption = None,
    error_on_warning: Annotated[bool, typer.Option("--error-on-warning", help="Exit 1 on warnings too.")] = False,
    allow_import: ImportFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Check patterns and files and their sizes; every error at once, with its place in the text."""
    from ..cortex_dsl import format_text, recipe_text
    from ..cortex_dsl.spans import Source

    results: list[dict[str, Any]] = []
    for argument in patterns:
        text = pattern_text(argument)
        _, resolved, found = read_pattern(text, d_hidden, allow_import=allow_import)
        good = resolved is not None and not (error_on_warning and found)
        tell(found)
        result: dict[str, Any] = {"source": text.source, "ok": good, "diagnostics": [d.to_json() for d in found]}
        if resolved is not None:
            shown = recipe_text(Source(text.source, text)).text
            result |= {"pattern": format_text(shown), "d_hidden": resolved.d_hidden}
            result |= {"layers": len(resolved.scaffolds)}
        results.append(result)
        if good and not json_output:
            say(f"ok  {text.source if text.is_file else result['pattern'].rstrip()}")
    ok = all(result["ok"] for result in results)
    if json_output:
        emit_json("check", {"ok": ok, "results": results})
    if not ok:
        raise typer.Exit(ExitCode.USER_ERROR)


def tell(found: "list[Diagnostic]") -> None:
    """Complaints on stderr, with carets, a blank line after each."""
    for diagnostic in found:
        say(diagnostic.render() + "\n", error=True)


def expand(
    pattern: PatternArgument,
    d_hidden: HiddenOption = None,
    only: Annotated[str, typer.Option("--only", metavar="GLOB", help="Only paths like this: '*.mem_len'.")] = "*",
    allow_import: ImportFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Print every value of a pattern, defaults and inferred sizes too, and where each came from."""
    spec, resolved = read_sound(pattern, d_hidden, allow_import=allow_import)
    from ..cortex_dsl import expand as entries_of
    from ..cortex_dsl import format_spec

    entries = [e for e in entries_of(spec, resolved.d_hidden) if fnmatchcase(e.path, only)]
    if not entries:
        raise UserError(f"no value has a path like {only!r}", "`cortexc expand PATTERN` shows every path")
    if json_output:
        values = [{"path": e.path, "value": e.value, "origin": e.origin} for e in entries]
        document = {"pattern": format_spec(spec), "values": values, "spec": resolved.model_dump(mode="json")}
        emit_json("expand", document)
        return
    for entry in entries:
        say(str(entry))


def tokens(
    pattern: Annotated[
        str | None, typer.Argument(help=f"A text whose own names to list too. {HELP}", show_default=False)
    ] = None,
    allow_import: ImportFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """List the tokens that a pattern may use; with a text, also those it defines."""
    from ..cortex_dsl import names_of
    from ..cortex_dsl import tokens as known_tokens

    known = known_tokens()
    if pattern is not None:
        text = pattern_text(pattern)
        known = names_of(text, source=text.source, allow_import=allow_import)
    rows = [{"token": token.name, "stands for": token.summary} for token in known]
    if json_output:
        names = [{"name": t.name, "summary": t.summary, "built_in": t.built_in} for t in known]
        emit_json("tokens", {"tokens": names})
        return
    print_table(rows, ("token", "stands for"))


def recipes(
    glob: Annotated[str, typer.Argument(help="Names to list, with wildcards: 'xlstm*'.", metavar="[GLOB]")] = "*",
    json_output: JsonFlag = False,
) -> None:
    """List named stacks; `recipe:NAME` stands for one wherever a pattern does."""
    from ..cortex_dsl import RECIPES
    from ..cortex_dsl import recipes as matching
    from ..cortex_dsl.suggest import closest

    found = matching(glob)
    if not found:
        near = closest(glob.strip("*?"), RECIPES)
        raise UserError(f"no recipe is called {glob!r}", f"did you mean `{near}`?" if near else "try `cortexc recipes`")
    if json_output:
        emit_json("recipes", {"recipes": [{"name": r.name, "pattern": r.pattern, "about": r.about} for r in found]})
        return
    print_table(
        [{"recipe": r.name, "pattern": r.pattern, "about": r.about} for r in found], ("recipe", "pattern", "about")
    )


def print_table(rows: list[dict[str, str]], titles: tuple[str, ...]) -> None:
    """A table whose last column leaves when the terminal is too narrow."""
    columns = [Column(title, title, leaves=int(i == len(titles) - 1 and i > 1)) for i, title in enumerate(titles)]
    lines, _ = lay_out(columns, rows, terminal_width())
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

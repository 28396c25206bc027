"""The `cortexc` command: its verbs, and the one place where errors become messages and exit codes."""

import json
import os
import sys
import traceback
import warnings
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from .bench import bench
from .cache import cache
from .compile import compile_pattern
from .doctor import doctor, package_version
from .fmt import fmt
from .import_checkpoint import import_checkpoint
from .language import check, expand, explain, recipes, tokens
from .lsp import lsp
from .output import ExitCode, UserError, say
from .show import show
from .tune import tune

TRACEBACK_SWITCH = "CORTEXC_TRACEBACK"
_JSON = "cortexc.json"


class ErrorBoundary(TyperGroup):
    """Runs a verb; a user's mistake is told without a traceback, a mistake of ours with a hint where to find one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = show_warning
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort, TyperException, BrokenPipeError):
            raise
        except Exception as error:
            raise typer.Exit(report_error(error, as_json=ctx.meta[_JSON])) from error


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A coded warning of ours is told as it is; others' keep the place that raised them."""
    text = str(message)
    if category.__name__ != "CortexWarning":
        text = warnings.formatwarning(message, category, filename, lineno, line).rstrip()
    elif not text.startswith("warning"):
        text = f"warning: {text}"
    say(text, error=True)


def report_error(error: Exception, *, as_json: bool) -> ExitCode:
    """Tells one error on stderr (and, with --json, as a document on stdout) and gives its exit code."""
    diagnostics = getattr(error, "diagnostics", None)
    if diagnostics:
        code, texts = ExitCode.USER_ERROR, [d.render() for d in diagnostics]
        details: dict[str, Any] = {"diagnostics": [d.to_json() for d in diagnostics]}
    elif isinstance(error, UserError):
        code, texts = ExitCode.USER_ERROR, [f"error: {error.message}", *_hint(error.hint)]
        details = {"message": error.message, "hint": error.hint}
    else:
        code = ExitCode.INTERNAL
        message = f"{type(error).__name__}: {error}"
        hint = f"this is a fault of cortexc, not of your input; {TRACEBACK_SWITCH}=1 shows where it happened"
        texts = [f"internal error: {message}", *_hint(hint)]
        details = {"message": message, "hint": hint}
        if os.environ.get(TRACEBACK_SWITCH, "0") not in ("", "0"):
            texts.insert(0, "".join(traceback.format_exception(error)).rstrip())
    for text in texts:
        say(text.rstrip("\n"), error=True)
    if as_json:
        document = {"schema": "cortexc.error/1", "exit_code": int(code), "error": details}
        sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
    return code


def _hint(text: str) -> list[str]:
    return [f"  = help: {text}"] if text else []


app = typer.Typer(
    name="cortexc",
    cls=ErrorBoundary,
    help="Compile recurrent memory stacks: one pattern in, one fast stateful PyTorch module out.",
    epilog="Exit codes: 0 ok, 1 your input, 2 usage, 3 numeric check failed, 4 regression, 5 internal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("compile")(compile_pattern)
app.command("import-checkpoint")(import_checkpoint)
for verb in (show, bench, tune, doctor, check, fmt, expand, tokens, recipes, explain, lsp):
    app.command()(verb)
app.add_typer(cache, name="cache")


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"cortexc {package_version('cortexc')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="cortexc")

"""`cortexc compile`: a pattern becomes an importable package, and a report of what it became."""

import keyword
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from .frontend import BackendOption, DtypeOption, HiddenOption, PatternArgument, build_artifact
from .output import JsonFlag, UserError, emit_json, say_field
from .report import print_report
from .source import ImportFlag

# A package of one of these names would hide the real one from the program that imports it.
TAKEN = frozenset(sys.stdlib_module_names) | {"cortexc", "numpy", "tensordict", "torch", "triton"}


def compile_pattern(
    pattern: PatternArgument,
    d_hidden: HiddenOption = None,
    backend: BackendOption = "auto",
    dtype: DtypeOption = "float32",
    out: Annotated[Path, typer.Option("--out", help="Folder that will hold the package.")] = Path("build"),
    name: Annotated[
        str, typer.Option("--name", help="Name of the package; from the pattern if not given.", show_default=False)
    ] = "",
    allow_import: ImportFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Write an importable package for a pattern and report what it became."""
    if name:
        check_name(name)
    started = time.perf_counter()
    artifact = build_artifact(pattern, d_hidden=d_hidden, backend=backend, dtype=dtype, allow_import=allow_import)
    from ..compiler.artifact import default_name

    name = name or importable(default_name(artifact.pattern))
    check_target(out, name)
    try:
        written = artifact.write(out, name)
    except OSError as error:
        raise UserError(f"cannot write {out / name}: {error.strerror or error}", "choose another --out") from error
    seconds = time.perf_counter() - started
    files = sorted(artifact.files)
    if json_output:
        emit_json(
            "compile",
            {
                "report": artifact.report.to_json(),
                "name": name,
                "path": str(written),
                "files": files,
                "seconds": round(seconds, 3),
            },
        )
        return
    print_report(artifact.report)
    say_field("wrote", f"{written} in {seconds:.1f} s: {', '.join(files)}")
    say_field("use it", f"PYTHONPATH={out} python -c 'from {name} import Stack; print(Stack())'")


def check_name(name: str) -> None:
    """The name must be importable and must hide nothing."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise typer.BadParameter(
            f"{name!r} cannot be imported: use letters, digits and _, no digit first, no keyword",
            param_hint="--name",
        )
    if name in TAKEN:
        raise typer.BadParameter(f"{name!r} would hide the package of that name: choose another", param_hint="--name")


def importable(name: str) -> str:
    """The name, or one near it if Python or another package needs it: `AS` becomes `stack_as`."""
    return f"stack_{name}" if keyword.iskeyword(name) or name in TAKEN else name


def check_target(out: Path, name: str) -> None:
    """Refuses, before anything is written, a place that is not ours to replace."""
    for place in (out, *out.absolute().parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place} is a file, so it cannot hold a package", "choose another --out")
    from ..compiler.artifact import is_package

    target = out / name
    if target.is_symlink() or (target.exists() and not is_package(target)):
        raise UserError(
            f"{target} exists and was not written by `cortexc compile`; it stays as it is",
            "choose another --name or --out, or move it away",
        )

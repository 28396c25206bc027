"""`cortexc cache`: what compiling and tuning left on this machine, why a compile hits or misses, and clearing it."""

import sys
from typing import Annotated, Any

import typer

from .cached import DAY, Library, Package, Table, abandoned, age_text, libraries, packages, remove, tables
from .frontend import BackendOption, DtypeOption, HiddenOption
from .output import JsonFlag, UserError, emit_json, say, say_field, size_text, terminal_width
from .report import counted
from .source import ImportFlag, pattern_text
from .table import Column, lay_out

cache = typer.Typer(
    help="List, explain and clear what compiling and tuning keep on this machine.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COLUMNS = (
    Column("hash", "hash"),
    Column("backend", "backend"),
    Column("dtype", "dtype", leaves=2),
    Column("width", "d_hidden", right=True, leaves=1),
    Column("size", "size", right=True),
    Column("age", "age", right=True),
    Column("pattern", "pattern"),
)
LONGEST = 30  # of a pattern in a table on a terminal; a pipe and --json have it whole


@cache.command("ls")
def list_cache(json_output: JsonFlag = False) -> None:
    """List compiled packages, the newest first, and tuned kernels; count the steps that were compiled for a CPU."""
    from ..cache import cache_dir

    found, tuned, steps = packages(), tables(), libraries()
    total = sum(p.size for p in found) + sum(t.size for t in tuned) + sum(s.size for s in steps)
    if json_output:
        emit_json(
            "cache-ls",
            {
                "folder": str(cache_dir()),
                "packages": [_package_document(p) for p in found],
                "tables": [_table_document(t) for t in tuned],
                "steps": [_library_document(s) for s in steps],
                "bytes": total,
            },
        )
        return
    if found:
        lines, _ = lay_out(COLUMNS, [_row(p) for p in found], terminal_width())
        say(lines[0], style="bold")
        for line in lines[1:]:
            say(line)
        say()
    for table in tuned:
        _print_table(table)
    kernels = sum(len(t.entries) for t in tuned)
    counts = [counted(len(found), "package"), counted(kernels, "tuned kernel")]
    counts += [counted(len(steps), "compiled step")] if steps else []
    say(f"{', '.join(counts)}, {size_text(total)} in {cache_dir()}")


@cache.command("why")
def why(
    what: Annotated[
        str,
        typer.Argument(
            metavar="HASH|PATTERN",
            show_default=False,
            callback=pattern_text,
            help="A hash as `cache ls` shows it, or its beginning; or a pattern, recipe:NAME, a .cortex file, or -.",
        ),
    ],
    d_hidden: HiddenOption = None,
    backend: BackendOption = "auto",
    dtype: DtypeOption = "float32",
    allow_import: ImportFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Tell what made the key of a HASH, or whether compiling a PATTERN finds it here and if not, what differs."""
    from .cache_why import explain_hash, explain_pattern, named

    package = named(what, packages())
    if package is not None:
        found = explain_hash(package)
    else:
        found = explain_pattern(
            what, packages(), d_hidden=d_hidden, backend=backend, dtype=dtype, allow_import=allow_import
        )
    if json_output:
        emit_json("cache-why", found.document)
        return
    for label, text in found.lines:
        say_field(label, text)


@cache.command("clear")
def clear(
    code: Annotated[bool, typer.Option("--code", help="Only compiled packages.")] = False,
    tuning: Annotated[bool, typer.Option("--tuning", help="Only tables of tuned kernels.")] = False,
    native: Annotated[bool, typer.Option("--native", help="Only steps compiled for a CPU.")] = False,
    older_than: Annotated[
        float | None, typer.Option("--older-than", min=0, metavar="DAYS", help="Only what was written before that.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Remove compiled packages and steps and tuned kernels, which compiling and tuning make again. Nothing else is
    touched."""
    from ..cache import code_dir, native_dir, tuning_dir

    oldest = (older_than or 0.0) * DAY
    every = not (code or tuning or native)
    old = [p for p in packages() if p.age >= oldest] if code or every else []
    tuned = [t for t in tables() if t.age >= oldest] if tuning or every else []
    steps = [s for s in libraries() if s.age >= oldest] if native or every else []
    chosen = ((code, code_dir()), (tuning, tuning_dir()), (native, native_dir()))
    left = [path for wanted, folder in chosen if wanted or every for path in abandoned(folder)]
    size = sum(p.size for p in old) + sum(t.size for t in tuned) + sum(s.size for s in steps)
    counts = [counted(len(old), "package"), *([counted(len(steps), "compiled step")] if steps else [])]
    what = f"{', '.join(counts)} and {counted(len(tuned), 'table')} of tuned kernels, {size_text(size)}"
    doomed = [*(p.path for p in old), *(t.path for t in tuned), *(s.path for s in steps), *left]
    if doomed and not (yes or json_output) and not _agreed(what):
        say("nothing removed")
        return
    if doomed and json_output and not yes:
        raise UserError(f"this removes {what}", "add --yes")
    complaints = remove(doomed)
    if json_output:
        removed = {"packages": len(old), "tables": len(tuned), "steps": len(steps), "bytes": size}
        emit_json("cache-clear", removed | {"failed": complaints})
    elif not complaints:
        say(f"removed {what}" if doomed else "nothing to remove")
    if complaints:
        raise UserError(f"not everything could be removed: {'; '.join(complaints)}", "see who owns these files")


def _agreed(what: str) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(f"this removes {what}, and there is nobody to ask", "add --yes")
    return typer.confirm(f"remove {what}?", default=False)


def _row(package: Package) -> dict[str, str]:
    manifest = package.manifest
    pattern = " ".join(str(manifest.get("pattern", "")).split())
    if terminal_width() is not None and len(pattern) > LONGEST:
        pattern = pattern[: LONGEST - 1] + "…"
    return {
        "hash": package.hash,
        "backend": str(manifest.get("backend", "?")),
        "dtype": str(manifest.get("dtype", "?")),
        "width": str(manifest.get("d_hidden", "?")),
        "size": size_text(package.size),
        "age": age_text(package.age),
        "pattern": pattern,
    }


def _print_table(table: Table) -> None:
    if table.problem:
        say(f"{table.path.name} is damaged and not used: {table.problem}")
        say()
        return
    say(f"tuned on {table.device}, Triton {table.triton}, {age_text(table.age)} ago", style="bold")
    for entry in table.entries:
        choice = entry.get("choice")
        values = ", ".join(f"{k} {v}" for k, v in choice.items()) if isinstance(choice, dict) else "?"
        times = f"  {entry.get('kernel')}  {entry.get('built_in_ms')} -> {entry.get('ms')} ms"
        room = terminal_width()
        fits = room is None or len(times) + 2 + len(values) <= room
        say(f"{times}  {values}" if fits else f"{times}\n    {values}")
    say()


def _package_document(package: Package) -> dict[str, Any]:
    return {
        "hash": package.hash,
        "path": str(package.path),
        "bytes": package.size,
        "age_s": round(package.age, 1),
        "manifest": package.manifest,
    }


def _library_document(library: Library) -> dict[str, Any]:
    return {"path": str(library.path), "bytes": library.size, "age_s": round(library.age, 1)}


def _table_document(table: Table) -> dict[str, Any]:
    return {
        "path": str(table.path),
        "device": table.device,
        "triton": table.triton,
        "bytes": table.size,
        "age_s": round(table.age, 1),
        "problem": table.problem,
        "entries": table.entries,
    }

"""The table that `compile` prints: a report of the compiler, laid out for a terminal or for a pipe."""

from typing import TYPE_CHECKING

from .output import count_text, say, say_field, size_text, terminal_width, wrap
from .table import Column, lay_out

if TYPE_CHECKING:
    from ..compiler.report import Report

COLUMNS = (
    Column("layer", "layer"),
    Column("token", "token"),
    Column("core", "core", leaves=1),
    Column("scaffold", "scaffold", leaves=2),
    Column("width", "width", right=True, leaves=3),
    Column("params", "params", right=True),
    Column("state", "state/seq", right=True),
    Column("flops", "FLOP/token", right=True),
    Column("kernel", "kernel", leaves=4),
    Column("why", "why", leaves=5),
)


def print_report(report: "Report") -> None:
    """Prints the header, one line a row with identical layers folded, the totals and the notes."""
    say_field("pattern", report.pattern)
    say_field("hash", report.hash)
    say_field("size", f"{counted(report.total_layers, 'layer')}, {counted(report.total_experts, 'expert')}")
    say_field("target", f"d_hidden {report.d_hidden}, {report.dtype}, backend {report.backend}")
    say()
    width = terminal_width()
    rows = table_rows(report)
    lines, left = lay_out(COLUMNS, rows, width)
    say(lines[0], style="bold")
    for line in lines[1:-1]:
        say(line)
    say(lines[-1], style="bold")
    say()
    if left:
        print_reasons(rows[:-1], {column.key for column in left}, width or 80)
    for note in report.notes:
        say_field("note", f"{note.code}  {note.text}")


def table_rows(report: "Report") -> list[dict[str, str]]:
    """One dict of cells a row, the totals last; the layer is named once where several rows share it."""
    rows, before = [], None
    for row in report.rows:
        rows.append(
            {
                "layer": row.layer if row.layer != before else "",
                "token": row.token,
                "core": row.core,
                "scaffold": row.scaffold,
                "width": str(row.width) if row.width else "",
                "params": f"{row.params:,}",
                "state": size_text(row.state_bytes) if row.state_bytes else "-",
                "flops": count_text(row.flops_per_token),
                "kernel": row.kernel,
                "why": row.why,
            }
        )
        before = row.layer
    rows.append(
        {
            "layer": "total",
            "params": f"{report.total_params:,}",
            "state": size_text(report.total_state_bytes),
            "flops": count_text(report.total_flops_per_token),
        }
    )
    return rows


def print_reasons(rows: list[dict[str, str]], left: set[str], width: int) -> None:
    """Below a narrow table: what the columns that left would have said, equal reasons told once."""
    heads: dict[str, list[str]] = {}
    for row in rows:
        text = ": ".join(row[key] for key in ("kernel", "why") if key in left and row[key])
        if text:
            name = row["token"] or row["core"] or row["scaffold"]
            heads.setdefault(text, [])
            if name not in heads[text]:
                heads[text].append(name)
    indent = max((len(" ".join(names)) for names in heads.values()), default=0) + 2
    for text, names in heads.items():
        lines = wrap(text, max(width - indent, 20))
        say(f"{' '.join(names):<{indent}}{lines[0]}")
        for line in lines[1:]:
            say(" " * indent + line)
    if heads:
        say()


def counted(count: int, noun: str) -> str:
    """`1 layer`, `4 layers`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

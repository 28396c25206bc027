"""What a place of a text means: the part it stands for, every value of it, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from ..cortex_dsl import CortexStackConfig, Node, expand, layer_paths, read, span_of, token_of, try_resolve
from ..cortex_dsl.options import show_value
from ..cortex_dsl.spans import Span

if TYPE_CHECKING:
    from ..compiler import Report, Row

# The width to count with where the text leaves it open.
DEFAULT_WIDTH = 256


def hover(text: str, offset: int, *, source: str = "<pattern>") -> tuple[str, Span] | None:
    """Markdown about the part at `offset`, and its span; None where nothing can be said."""
    spec, found = read(text, source=source)
    if spec is None or any(d.severity == "error" for d in found):
        return None
    width = spec.d_hidden or DEFAULT_WIDTH
    resolved, problems = try_resolve(spec, width)
    if problems:
        return None
    holding = []
    for path, node in layer_paths(spec):
        span = span_of(node)
        # A repeated layer is one piece of text: its first occurrence speaks for all.
        if span is not None and span.source.name == source and span.start <= offset < span.end:
            holding.append((span.end - span.start, -path.count("experts"), path, node, span))
    report = report_of(resolved.model_dump_json())
    if not holding:
        # Elsewhere in the pattern: the whole stack.
        span = span_of(spec)
        inside = span is not None and span.source.name == source and span.start <= offset < span.end
        return ("\n".join(_stack(resolved, report)), span) if inside and span is not None else None
    _, _, path, node, span = min(holding, key=lambda h: h[:2])
    return "\n".join(_part(spec, path, node, width, report)), span


@lru_cache(maxsize=32)
def report_of(spec_json: str) -> Report | None:
    """The compiler's count of a resolved spec; None for what it cannot build yet."""
    from ..compiler import build

    try:
        return build(CortexStackConfig.model_validate_json(spec_json), backend="eager").report
    except Exception:  # an editor shows what it can; `cortexc compile` tells why a stack cannot be built
        return None


def _part(spec: CortexStackConfig, path: str, node: Node, width: int, report: Report | None) -> Iterator[str]:
    layer = int(path.split("]")[0].removeprefix("scaffolds["))
    rows = _rows(report, layer)
    if path.count("experts") == 1:
        expert = int(path.split("experts[")[1].split("]")[0])
        rows = rows[expert : expert + 1]
    name = "column" if hasattr(node, "experts") else token_of(node)
    yield f"**{name}** — `{node.kind}`, layer {layer + 1} of {len(spec.scaffolds)}, d_hidden {width}"
    if rows and path.count("experts") < 2:
        yield ""
        yield _cost(sum(r.params for r in rows), sum(r.state_bytes for r in rows), sum(r.flops_per_token for r in rows))
    entries = [e for e in expand(spec, width) if e.path.startswith(f"{path}.") and not e.path.endswith("kind")]
    if path.count("experts") == 0 and hasattr(node, "experts"):
        entries = [e for e in entries if ".experts[" not in e.path]
    yield from ("", "| value | | from |", "|---|---|---|")
    for entry in entries:
        yield f"| {entry.path.removeprefix(path + '.')} | `{show_value(entry.value)}` | {entry.origin} |"


def _stack(resolved: CortexStackConfig, report: Report | None) -> Iterator[str]:
    yield f"**stack** — {len(resolved.scaffolds)} layers, d_hidden {resolved.d_hidden}"
    if report is not None:
        yield ""
        yield _cost(report.total_params, report.total_state_bytes, report.total_flops_per_token)


def _cost(params: int, state: int, flops: int) -> str:
    return f"{params:,} parameters, {state:,} bytes of state per sequence, {flops:,} FLOP per token"


def _rows(report: Report | None, layer: int) -> tuple[Row, ...]:
    """The rows of one layer; the report folds equal layers, and names each group in its first row."""
    groups: list[list[Row]] = []
    for row in report.rows if report else ():
        if row.layer:
            groups.append([row])
        elif groups and row.scaffold != "final norm":
            groups[-1].append(row)
    at = 0
    for group in groups:
        at += group[0].count
        if layer < at:
            return tuple(group)
    return ()

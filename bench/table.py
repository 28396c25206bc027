"""Writes bench/results/README.md: one Markdown table for each result file. `--check` fails if it is out of date."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from table_counters import counters
from table_recurrences import recurrences

RESULTS = Path(__file__).parent / "results"
MODES = ("forward", "forward+backward", "step", "stepper")


def table(document: dict[str, Any]) -> str:
    """Heading, what was measured where, and a row for each contender."""
    work, where = document["work"], document["environment"]
    commit = where["commit"][:12] if where["commit"] else "unknown"
    tf32 = "on" if work["tf32"] else "off"
    lines = [
        f"## `{work['pattern']}`, d={work['d_hidden']}, B={work['batch']}, T={work['seq_len']}, {work['dtype']}",
        "",
        f"{where['device']}, torch {where['torch']}, Triton {where['triton']}, TF32 {tf32}, "
        f"commit {commit}{' with changes' if where['dirty'] else ''}, {where['time'][:10]}. "
        "Median milliseconds; in brackets the first call in seconds, with all that it compiles.",
        "",
        f"| | {' | '.join(MODES)} | peak memory | relative error |",
        "|---|" + "---:|" * (len(MODES) + 2),
    ]
    lines += [row(outcome) for outcome in document["outcomes"]]
    if document.get("missing_peers"):
        lines += ["", f"Not installed in this run: {', '.join(document['missing_peers'])}."]
    return "\n".join(lines)


def row(outcome: dict[str, Any]) -> str:
    """One contender; what it could not run is said, not left out."""
    timings = {timing["mode"]: timing for timing in outcome["timings"]}
    cells = [outcome["contender"]]
    for mode in MODES:
        timing = timings.get(mode)
        cells.append(f"{timing['median_ms']:.2f} ({timing['first_call_s']:.1f})" if timing else "–")
    peaks = [timing["peak_bytes"] for timing in outcome["timings"] if timing["peak_bytes"]]
    cells.append(f"{max(peaks) / 2**20:,.0f} MiB" if peaks else "–")
    error = outcome["relative_error"]
    cells.append(outcome["error"] or (f"{error:.1e}" if error is not None else "–"))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def first_calls(document: dict[str, Any]) -> str:
    """A row for each kind of first call, a column for each start of a process."""
    where, found = document["environment"], document["first_calls"]
    starts = list(dict.fromkeys(f["start"] for f in found))
    lines = [
        f"## The first call of a process: `{document['pattern']}`, d=256, B=16, T=256, float32",
        "",
        f"{where['device']}, {document['processors']} processors, torch {where['torch']}, Triton {where['triton']}, "
        f"commit {where['commit'][:12]}{' with changes' if where['dirty'] else ''}, {where['time'][:10]}. "
        "Seconds of the call; kernels compiled one by one, side by side, or found in the cache of an earlier process.",
        "",
        f"| | {' | '.join(starts)} |",
        "|---|" + "---:|" * len(starts),
    ]
    for call in dict.fromkeys(f["call"] for f in found):
        seconds = {f["start"]: f["first_call_s"] for f in found if f["call"] == call}
        lines.append(f"| {call} | " + " | ".join(f"{seconds[start]:.1f}" for start in starts) + " |")
    return "\n".join(lines)


def text_of(document: dict[str, Any]) -> str:
    """One document, by what it holds."""
    if "counters" in document:
        return counters(document)
    if "first_calls" in document:
        return first_calls(document)
    return recurrences(document) if "rows" in document else table(document)


def page(folder: Path) -> str:
    """All result files of a folder, in the order of their names."""
    files = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    documents = [run for file in files for run in file.get("runs", [file])]
    head = "# Results\n\nWritten by `python bench/table.py` from the JSON files beside it; change those, not this.\n"
    texts = [text_of(document) for document in documents]
    return "\n".join([head, *(text + "\n" for text in texts)])


def main() -> None:
    """Writes the page, or with --check compares it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    target, text = args.results / "README.md", page(args.results)
    if args.check:
        if not target.exists() or target.read_text() != text:
            sys.exit(f"{target} is out of date: run python bench/table.py")
    else:
        target.write_text(text)
        print(f"wrote {target}")


if __name__ == "__main__":
    main()

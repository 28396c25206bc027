"""The part of bench/results/README.md that `gpu_recurrences.py` fills: times, peers, and what was checked."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def recurrences(document: dict[str, Any]) -> str:
    """One result file as Markdown."""
    about, rows = document["about"], document["rows"]
    commit = (about["commit"] or "unknown")[:12]
    commit += f" with {about['changes']}" if about.get("changes") else ""
    lines = [
        "## Single recurrences",
        "",
        f"{about['device']}, torch {about['torch']}, Triton {about['triton']}, cuDNN {about['cudnn']}, "
        f"commit {commit}, {about['date']}. Median milliseconds: launched one by one, and in brackets as a CUDA graph. "
        "Shapes are [rows, steps, heads x width]; the products before and after the loop are not in these times; a "
        "graph's forward also keeps what a backward reads.",
        "",
    ]
    if timed := [r for r in rows if "time" in r]:
        lines += _table(
            ("", "shape", "dtype", "resets", "forward", "µs a step", "forward+backward", "of the byte bound"),
            [
                (
                    r["time"],
                    r["shape"],
                    r["dtype"],
                    "2 %" if r.get("resets") else "–",
                    _both(r, "forward"),
                    _number(r.get("us_a_step")),
                    _both(r, "both"),
                    _share(r),
                )
                for r in timed
            ],
        )
    if peers := [r for r in rows if "peer" in r]:
        lines += [
            "",
            "Beside torch's own module, which is cuDNN's, one layer with its input product; TF32 for both or neither:",
            "",
        ]
        lines += _table(
            ("", "shape", "dtype", "cuDNN forward", "ours", "cuDNN forward+backward", "ours", "times faster"),
            [
                (
                    r["peer"],
                    r["shape"],
                    r["dtype"] + (" (TF32)" if r["tf32"] and r["dtype"] == "float32" else ""),
                    _number(r["cudnn_forward_ms"]),
                    _number(r["forward_ms"]),
                    _number(r["cudnn_both_ms"]),
                    _both(r, "both"),
                    _number(r["times_faster"]),
                )
                for r in peers
            ],
        )
    if rivals := [r for r in rows if "flashrnn" in r]:
        lines += ["", "Beside FlashRNN's Triton kernels, the loop alone on the same gates:", ""]
        lines += _table(
            ("", "shape", "dtype", "FlashRNN forward", "ours", "FlashRNN forward+backward", "ours"),
            [
                (
                    r["flashrnn"],
                    r["shape"],
                    r["dtype"],
                    r.get("peer_failed") or _number(r.get("peer_forward_ms")),
                    _both(r, "forward"),
                    "–" if "peer_failed" in r else f"{_number(r['peer_both_ms'])} ({_number(r['peer_both_graph_ms'])})",
                    _both(r, "both"),
                )
                for r in rivals
            ],
        )
    if checks := [r for r in rows if "check" in r]:
        wrong = [r for r in checks if not r["right"] or r.get("runs_that_moved")]
        runs = max(r.get("runs", 1) for r in checks)
        lines += [
            "",
            f"Checked in the same run: {len(checks)} cases, outputs, states, traces and gradients against float64, "
            f"{len(wrong)} wrong; {runs} runs of each on the same input, "
            f"{sum(r.get('runs_that_moved', 0) for r in checks)} with another bit.",
        ]
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        "|---|---|---|" + "---:|" * (len(head) - 3),
        *(f"| {' | '.join(r)} |" for r in rows),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _both(row: Row, which: str) -> str:
    """``1.2 (0.9)``: launched, and in brackets as a graph."""
    if "failed" in row:
        return row["failed"]
    launched, graph = row.get(f"{which}_ms"), row.get(f"{which}_graph_ms")
    if launched is None and graph is None:
        return "–"
    return f"{_number(launched)} ({_number(graph)})" if launched is not None else f"({_number(graph)})"


def _share(row: Row) -> str:
    """How much of the time would be needed to move the bytes that must move: forward, and with backward."""
    if "forward_bound_ms" not in row or "failed" in row:
        return "–"
    measured = [which for which in ("forward", "both") if f"{which}_graph_ms" in row]
    shares = (row[f"{which}_bound_ms"] / row[f"{which}_graph_ms"] for which in measured)
    return " / ".join(f"{share:.0%}" for share in shares)

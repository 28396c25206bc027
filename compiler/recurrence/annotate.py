"""Comments that say which equation a line of generated code comes from."""

from __future__ import annotations

import re

from .frontend import Recurrence
from .layout import LIMIT, split_arguments

_LINE = re.compile(r"    (?P<adjoint>d_)?(?P<name>[A-Za-z]\w*?)(?P<number>\d*) = ")
# The functions that compute equations; kernels call them.
_COMPUTES = re.compile(r"def (step|vjp|hoist|hoist_vjp|advance|jacobian|trace|trace_hoist|traced_step|\w+_tile)\(")


def equations_of(rec: Recurrence) -> dict[str, str]:
    """The statement of the source that defines each name; `a, b = c, d` defines each by its own part."""
    found: dict[str, str] = {}
    for line in rec.source.splitlines():
        left, equals, right = line.strip().partition(" = ")
        if equals and re.fullmatch(r"\w+(, \w+)*", left):
            names, parts = left.split(", "), split_arguments(right)
            whole = [line.strip()] * len(names)
            own = [f"{n} = {p}" for n, p in zip(names, parts, strict=True)] if len(parts) == len(names) else whole
            found |= zip(names, own, strict=True)
    return found


def annotate(rec: Recurrence, text: str) -> str:
    """`text` with the equation behind every line that computes a name of the author's, or its adjoint. Lines that read
    as their equation does are left as they are."""
    equations, lines, inside = equations_of(rec), [], False
    for line in text.splitlines():
        if line and not line.startswith((" ", ")")):
            inside = _COMPUTES.match(line) is not None
        note = _note(line, equations) if inside else ""
        if note and len(line) + len(note) + 4 <= LIMIT:
            line = f"{line}  # {note}"
        elif note:
            lines.append(f"    # {note}")
        lines.append(line)
    return "\n".join(lines)


def _note(line: str, equations: dict[str, str]) -> str:
    found = _LINE.match(line)
    if found is None:
        return ""
    name = found["name"] + found["number"]
    equation = equations.get(name) or equations.get(found["name"], "")
    if equation and found["adjoint"]:
        return f"adjoint of {equation}"
    return "" if _plain(line) == _plain(equation) else equation


def _plain(text: str) -> str:
    """A line without what tells targets apart: `x_u` is `x.u`, `torch.exp` is `exp`."""
    text = re.sub(r"\b(torch|tl|F)\.", "", text.strip())
    return re.sub(r"\b([hprsx])_(?=\w)", r"\1.", text).replace("h.", "p.")

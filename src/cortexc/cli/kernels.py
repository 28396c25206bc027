"""The generated kernels as `show` prints them: every recurrence with what was proved of it, above its code."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..compiler import Artifact
    from ..compiler.ir import Node

ROWS, STEPS = 16, 256  # of the call that times are given for
ITEM_SIZES = {"float64": 8, "float32": 4}


@dataclass
class Use:
    """One recurrence at one size, and the parts of the pattern that run it so."""

    name: str
    width: int
    head_width: int | None
    traces: bool
    features: int = 1
    places: list[str] = field(default_factory=list)


def described(artifact: "Artifact", *, measure: bool) -> dict[str, str]:
    """The files of kernels by path; the file of a recurrence begins with its description, as a comment."""
    texts = {path: text for path, text in artifact.files.items() if path.startswith("kernels/") and text.strip()}
    for use in _uses(artifact):
        path = f"kernels/{use.name}.py"
        texts[path] = f"{_comment(_description(artifact, use, measure=measure))}\n\n{texts[path]}"
    return texts


def _uses(artifact: "Artifact") -> list[Use]:
    """Every recurrence of the sequence program, once for each size; the first one comes out on top."""
    found: dict[tuple[object, ...], Use] = {}
    for node, width in _recurrences(artifact):
        head = int(str(node.attr("head_width"))) or None
        features = int(str(node.attr("features") or 1))
        use = Use(str(node.attr("name")), width, head, bool(node.attr("traces")), features)
        key = (use.name, use.width, use.head_width, use.traces)
        place = node.where or "the part itself"
        if place not in (known := found.setdefault(key, use).places):
            known.append(place)
    return list(reversed(found.values()))


def _recurrences(artifact: "Artifact") -> "Iterator[tuple[Node, int]]":
    from ..compiler.ops.temporal import equations_of

    for graph in artifact.programs["sequence"].graphs():
        for node in graph.nodes:
            if equations_of(node.op, dict(node.attrs)):
                width = node.outputs[0].type.width
                yield node, width if node.op == "recurrence" else width * int(str(node.outputs[0].type.shape[-2]))


def _description(artifact: "Artifact", use: Use, *, measure: bool) -> str:
    from ..compiler.library.recurrences import EQUATIONS
    from ..compiler.recurrence import describe

    return describe(
        EQUATIONS[use.name],
        width=use.width,
        head_width=use.head_width,
        features=use.features,
        rows=ROWS,
        steps=STEPS,
        itemsize=ITEM_SIZES.get(artifact.dtype, 2),
        traces=use.traces,
        used=use.places,
        measured=_measured(artifact.files[f"kernels/{use.name}.py"], use) if measure else (),
    )


def _measured(text: str, use: Use) -> list[str]:
    """What only a compiler and a clock can say."""
    from ..measure import timing, unavailable, usages

    sizes: dict[str, object] = {"H": use.width, "PRECISION": "tf32x3"}
    if use.head_width:
        padded = max(16, 1 << (use.head_width - 1).bit_length())
        sizes |= {"D": use.head_width, "BLOCK_D": padded, "BLOCK_K": min(padded, 64)}
        sizes |= {"E": use.features, "BLOCK_E": 1 << (use.features - 1).bit_length()}
    if reason := unavailable():
        lines = [f"registers and shared memory: not to be had, {reason}"]
    else:
        lines = [f"compiled for compute capability 9.0, {use.width} channels, 4 warps, tiles as in its KERNELS"]
        lines += [f"  {usage}" for usage in usages(text, sizes, skip=_other_schedules(use))]
    ran = timing(
        text,
        rows=ROWS,
        steps=STEPS,
        width=use.width,
        head_width=use.head_width,
        traces=use.traces,
        features=use.features,
    )
    return [*lines, f"{ROWS} rows x {STEPS} steps, float32: {ran}"]


def _other_schedules(use: Use) -> tuple[str, ...]:
    """Beginnings of the names of kernels that do not run at this size."""
    from ..compiler.library.recurrences import EQUATIONS
    from ..compiler.recurrence.describe import stays_on_chip

    if use.head_width is None or EQUATIONS[use.name].headed:
        return ()
    return ("split_",) if stays_on_chip(EQUATIONS[use.name], use.head_width, 4) else ("head_",)


def _comment(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.rstrip("\n").splitlines())

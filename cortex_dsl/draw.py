"""A spec as a picture: a tree for the terminal, a Mermaid flowchart for documents. Equal neighbours are drawn once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from .labels import token_of
from .options import show_value
from .spec.base import Node, option_names
from .spec.scaffolds import ColumnScaffoldConfig
from .spec.stack import CortexStackConfig
from .spec.tissue import TissueScaffoldConfig


@dataclass(frozen=True)
class Picture:
    """One part: what it is called, what is unusual about it, what is inside."""

    title: str
    details: tuple[str, ...] = ()
    parts: tuple[Picture, ...] = ()
    # `layer` and `expert` say how a part stands among its neighbours: in depth or side by side.
    place: str = "layer"
    cut_before: bool = False

    @property
    def line(self) -> str:
        return f"{self.title}  {' '.join(self.details)}".rstrip()


def picture(spec: CortexStackConfig) -> Picture:
    """The picture of a stack, resolved or not."""
    width = f"d_hidden={spec.d_hidden}" if spec.d_hidden else ""
    count = len(spec.scaffolds)
    title = "  ".join(w for w in ("stack", width, f"{count} layer{'s' * (count != 1)}") if w)
    return Picture(title, tuple(_unusual(spec, ("d_hidden", "cuts"))), tuple(_layers(spec)))


def tree(spec: CortexStackConfig) -> str:
    """The picture as lines with branches."""
    top = picture(spec)
    return "\n".join([top.line, *_branches(top.parts, "")])


def mermaid(spec: CortexStackConfig) -> str:
    """The picture as a Mermaid flowchart: layers downwards, experts side by side."""
    chart = _Chart()
    last = chart.node("x")
    for part in picture(spec).parts:
        last = chart.layer(part, last)
    chart.edge(last, chart.node("y"))
    return "\n".join(["flowchart TD", *chart.lines])


def _layers(spec: CortexStackConfig) -> Iterator[Picture]:
    at = 0
    edges = set(spec.cuts)
    for _, same in groupby(enumerate(spec.scaffolds), key=lambda pair: (sum(c <= pair[0] for c in edges), pair[1])):
        run = list(same)
        where = f"{at}" if len(run) == 1 else f"{at}-{at + len(run) - 1} x{len(run)}"
        drawn = _part(run[0][1], "layer")
        yield Picture(f"{where}  {drawn.title}", drawn.details, drawn.parts, "layer", at in edges)
        at += len(run)


def _part(node: Node, place: str) -> Picture:
    if isinstance(node, ColumnScaffoldConfig):
        own = (*_unusual(node), *_unusual(node.router, ("d_key", "d_key_local")))
        return Picture("column", own, tuple(_part(e, "expert") for e in node.experts), place)
    if isinstance(node, TissueScaffoldConfig):
        tissue = node.tissue
        dims = "x".join(str(d) for d in (tissue.width, tissue.height, tissue.depth) if d)
        mix = tuple(f"{name}: {show_value(share)}" for name, share in tissue.cell_mix.items())
        return Picture(f"tissue {dims}", (*mix, f"mode={node.mode}"), (), place)
    if "scaffold" in type(node).model_fields:
        inner = _part(node.scaffold, "expert")  # type: ignore[attr-defined]
        return Picture(f"{token_of(node)}  {node.kind}", tuple(_unusual(node)), (inner,), place)
    core = getattr(node, "core", None)
    if isinstance(core, CortexStackConfig):
        inside = picture(core)
        return Picture(f"{node.kind}  {inside.title}", tuple(_unusual(node)), inside.parts, place)
    name = token_of(node)
    if core is None:
        return Picture(f"{name}  {node.kind}", tuple(_unusual(node)), (), place)
    width = f" at {core.hidden_size}" if core.hidden_size else ""
    details = (*_unusual(core, ("hidden_size", "head_dim", "out_dim")), *_unusual(node))
    token = f"{name}  " if not name.endswith("Config") else ""
    return Picture(f"{token}{core.kind} in {node.kind}{width}", details, (), place)


def _unusual(node: Node, without: Sequence[str] = ()) -> Iterator[str]:
    """Options that are not as the class makes them."""
    for name in option_names(type(node)):
        value = getattr(node, name)
        simple = not isinstance(value, (Node, dict)) and not (isinstance(value, tuple) and value)
        info = type(node).model_fields[name]
        if simple and name not in without and value != info.get_default(call_default_factory=True):
            yield f"{name}={show_value(value)}"


def _branches(parts: Sequence[Picture], indent: str) -> Iterator[str]:
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if part.cut_before:
            yield f"{indent}├╌╌ pipeline cut"
        yield f"{indent}{'└─' if last else '├─'} {part.line}"
        yield from _branches(part.parts, f"{indent}{'   ' if last else '│  '}")


class _Chart:
    """Mermaid lines, with a fresh name for each node."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def node(self, text: str, shape: str = "[]") -> str:
        self.count += 1
        name = f"n{self.count}"
        # Mermaid reads quotes and brackets of its own; entities are its way to write them.
        quoted = text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
        self.lines.append(f'    {name}{shape[0]}"{quoted}"{shape[1]}')
        return name

    def edge(self, start: str, end: str, arrow: str = "-->") -> None:
        self.lines.append(f"    {start} {arrow} {end}")

    def layer(self, part: Picture, before: str) -> str:
        """Draw one layer after `before`; the node that the next layer follows."""
        arrow = "-. pipeline cut .->" if part.cut_before else "-->"
        if not part.parts:
            node = self.node(part.line)
            self.edge(before, node, arrow)
            return node
        head = self.node(part.line, "{}") if part.parts[0].place == "expert" else self.node(part.line)
        self.edge(before, head, arrow)
        if part.parts[0].place == "expert":
            ends = [self.layer(inner, head) for inner in part.parts]
            if len(ends) == 1:
                return ends[0]
            join = self.node("mix", "()")
            for end in ends:
                self.edge(end, join)
            return join
        last = head
        for inner in part.parts:
            last = self.layer(inner, last)
        return last

"""The step graph of a layer -> one function in C++, and what its caller in Python must know of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby

from ..ir import Graph, Node, Program
from ..ir.graph import ABSENT
from ..ir.types import B
from .calls import call
from .lines import broken
from .places import NotInCpp, Place, Scratch
from .text import Emitted
from .words import WORDS

# Ops that give the same numbers another name or shape.
VIEWS = ("unflatten", "flatten", "unsqueeze", "view", "alias", "enter_lane", "leave_lanes")
# Results that may be written where an operand lies: (op, place of the result) -> how, as kernels/native/layer.py knows.
OVERWRITTEN = {("mlstm", 1): "in place", ("xl_memory", 0): "window"}


def emit_layers(program: Program) -> dict[str, Emitted]:
    """The layers of a program of steps that have a form in C++, by name."""
    found = {g.name: emit_layer(g) for g in (program.layers.values() or (program.entry,))}
    return {name: e for name, e in found.items() if e is not None}


def emit_layer(graph: Graph) -> Emitted | None:
    """The function of a step graph; None if the graph has something that has no form in C++."""
    try:
        return _Emitter(graph).run()
    except NotInCpp:
        return None


class _Emitter:
    """One walk over a graph. Offers what `calls.Layer` asks for."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._types = graph, graph.types()
        self._places: dict[str, Place] = {}
        self._names: set[str] = set(WORDS)
        self._functions: dict[str, str] = {}
        self._scratch, self._works = Scratch(), 0
        self._next = 4  # the next free place of `a`, which begins with rows, threads, resets, scratch
        self._given: list[str] = []  # lines that give names to what `a` holds
        self._lines: list[str] = []
        self._positions: list[tuple[int, int]] = []
        self._packs: dict[tuple[int, ...], None] = {}
        self._results: dict[str, str] = {}  # of values that are written where they are given out
        self._copies: list[tuple[str, str]] = []  # other values that are given out

    def run(self) -> Emitted:
        graph, x = self._graph, self._graph.inputs[0]
        if len(graph.inputs) != 2 or len(x.type.shape) != 2 or x.type.shape[0] != B:
            raise NotInCpp("inputs beside x [B, H] and resets")
        for name in (x.name, *(s.name for s in graph.states)):
            self._places[name] = Place(self._take(_word(name), self._types[name].dtype, rows=True), self._types[name])
        self._give_out()
        for p in graph.params:
            self._places[p.name] = Place(self._take(re.sub(r"\W", "_", p.path), p.type.dtype, rows=False), p.type)
        last = self._last_reads()
        for where, nodes in groupby(enumerate(graph.nodes), key=lambda pair: pair[1].where):
            self._lines += ["", f"// {where}"]
            for index, node in nodes:
                self._lines += self._node(node)
                for name in last.get(index, ()):
                    self._scratch.release(name)
        for name, to in self._copies:
            self._lines.append(f"cx::copy_rows(c, {self.of(name).text}, {self.of(name).width}, {to});")
        return Emitted(
            graph.name,
            "\n\n".join([*self._functions.values(), self._function()]),
            tuple(p.path for p in graph.params),
            tuple((p.type.dtype, tuple(int(d) for d in p.type.shape)) for p in graph.params),
            tuple(self._packs),
            tuple(self._positions),
            x.type.width,
            tuple(
                (s.type.dtype, tuple(int(d) for d in s.type.shape[1:]), self._how(after))
                for s, after in zip(graph.states, graph.next_state, strict=True)
            ),
            (self._scratch.rows, self._scratch.fixed),
        )

    # -- what calls ask for ----------------------------------------------------------------------------------------

    def of(self, name: str) -> Place:
        if name == ABSENT or self._places[name].own:
            raise NotInCpp("an operand that is absent, or in two places")
        return self._places[name]

    def maybe(self, name: str) -> Place | None:
        return None if name == ABSENT else self.of(name)

    def context(self, name: str) -> Place:
        return self._places[name]

    def out(self, node: Node, index: int = 0) -> Place:
        value = node.outputs[index]
        given = self._results.get(value.name)
        place = self._places[value.name] = Place(given or self._fresh(_word(value.name)), value.type)
        if given is None:
            counter = value.type.dtype == "i64"
            at = self._scratch.take(value.name, place.width * (2 if counter else 1), place.shared)
            rows = f"const Rows {place.text} = {{{at}, {0 if place.shared else place.width}}};"
            self._lines.append(f"integer* const {place.text} = (integer*)({at});" if counter else rows)
        return place

    def work(self, width: int, *, shared: bool = False) -> str:
        self._works += 1
        return self._scratch.take(f"work {self._works}", width, shared)

    def declare(self, wanted: str, rows: str) -> str:
        name = self._fresh(wanted)
        self._lines.append(f"const Rows {name} = {rows};")
        return name

    def function(self, name: str, text: Callable[[str], str]) -> str:
        if name not in self._functions:
            self._functions[name] = text(name)
        return name

    # -- the walk --------------------------------------------------------------------------------------------------

    def _node(self, node: Node) -> list[str]:
        own = {"split": self._split, "pack": self._pack, "relative_positions": self._table}
        if node.op in VIEWS:
            for operand, value in zip(node.inputs, node.outputs, strict=True):
                seen = self._places[operand]
                self._places[value.name] = Place(seen.text, value.type, seen.dense, seen.own)
            return []
        if node.op == "xl_context" and node.inputs[2] == ABSENT:
            input_, mem = map(self.of, node.inputs[:2])
            self._places[node.outputs[0].name] = Place(mem.text, node.outputs[0].type, own=input_.text)
            return []
        if node.op in own:
            return own[node.op](node)
        before = self._works
        lines = call(self, node)
        for number in range(before, self._works):
            self._scratch.release(f"work {number + 1}")
        return lines

    def _split(self, node: Node) -> list[str]:
        whole = self.of(node.inputs[0])
        if len(whole.type.shape) != 2 or whole.shared:
            raise NotInCpp("a split of parts of a row")
        offset = 0
        for value in node.outputs:
            name = self.declare(_word(value.name), whole.piece(offset))
            self._places[value.name] = Place(name, value.type, dense=False)
            offset += value.type.width
        return []

    def _pack(self, node: Node) -> list[str]:
        """Parameters that lie back to back are read as one."""
        order = {p.name: i for i, p in enumerate(self._graph.params)}
        if any(i not in order for i in node.inputs):
            raise NotInCpp("a pack of what is no parameter")
        self._packs[tuple(order[i] for i in node.inputs)] = None
        self._places[node.outputs[0].name] = Place(self.of(node.inputs[0]).text, node.outputs[0].type)
        return []

    def _table(self, node: Node) -> list[str]:
        """The encodings of distances: made once, and passed in."""
        value, mem_len, width = node.outputs[0], node.attr("mem_len"), node.attr("width")
        assert isinstance(mem_len, int) and isinstance(width, int)
        self._positions.append((mem_len, width))
        self._places[value.name] = Place(self._take(_word(value.name), "f", rows=False), value.type)
        return []

    # -- what goes in and out --------------------------------------------------------------------------------------

    def _take(self, wanted: str, dtype: str, *, rows: bool) -> str:
        """A name for the next thing in `a`: an address and, of rows, their distance."""
        name, at = self._fresh(wanted), self._next
        self._next += 2 if rows else 1
        if dtype == "i64":
            self._given.append(f"integer* const {name} = (integer*)a[{at}];")
        elif dtype in ("f", "acc"):
            self._given.append(f"const Rows {name} = {{(float*)a[{at}], {f'a[{at + 1}]' if rows else 0}}};")
        else:
            raise NotInCpp(f"numbers of type {dtype}")
        return name

    def _give_out(self) -> None:
        """Names for the output and the next state. What one op makes is written there at once."""
        graph = self._graph
        made = {v.name for n in graph.nodes if n.op not in (*VIEWS, "split", "pack", "xl_context") for v in n.outputs}
        views = {v.name: i for n in graph.nodes if n.op in VIEWS for i, v in zip(n.inputs, n.outputs, strict=True)}
        words = ["y", *(s.path[-1] for s in graph.states)]
        for name, word in zip((graph.output, *graph.next_state), words, strict=True):
            to = self._take(f"{word}_after", self._types[name].dtype, rows=True)
            while name in views:
                name = views[name]
            if name in made and name not in self._results:
                self._results[name] = to
            elif self._types[name].dtype == "i64":
                raise NotInCpp("a counter that no op makes")
            else:
                self._copies.append((name, to))

    def _how(self, name: str) -> str:
        """How the next value of a state may be written, beside to memory of its own."""
        for node in self._graph.nodes:
            for index, value in enumerate(node.outputs):
                if value.name == name and node.op in VIEWS:
                    return self._how(node.inputs[index])
                if value.name == name and name in self._results:
                    return OVERWRITTEN.get((node.op, index), "")
        return ""

    def _last_reads(self) -> dict[int, list[str]]:
        """By node: the values that nobody reads after it, views of them included."""
        seen: dict[str, str] = {}  # of a view, what it looks at; of a context, the input of this step, which must stay
        last: dict[str, int] = {}
        for index, node in enumerate(self._graph.nodes):
            last |= {seen.get(i, i): index for i in node.inputs}
            if node.op in VIEWS:
                seen |= {v.name: seen.get(i, i) for i, v in zip(node.inputs, node.outputs, strict=True)}
            elif node.op in ("split", "xl_context"):
                seen |= {v.name: seen.get(node.inputs[0], node.inputs[0]) for v in node.outputs}
            last |= {seen.get(v.name, v.name): index for v in node.outputs}
        for name, _ in self._copies:
            last[seen.get(name, name)] = len(self._graph.nodes)
        found: dict[int, list[str]] = {}
        for name, index in last.items():
            found.setdefault(index, []).append(name)
        return found

    def _function(self) -> str:
        body = [
            "const Call c = {a[0], a[1], (const bool*)a[2]};",
            "float* const scratch = (float*)a[3];",
            f"float* const fixed = scratch + {self._scratch.rows} * c.rows;",
            *self._given,
            *self._lines,
        ]
        lines = [
            f'extern "C" void {self._graph.name}(const long long* a) {{',
            *(line for b in body for line in broken(b, 1)),
        ]
        return "\n".join([*lines, "}"])

    def _fresh(self, wanted: str) -> str:
        name, n = wanted, 1
        while name in self._names:
            n += 1
            name = f"{wanted}_{n}"
        self._names.add(name)
        return name


def _word(name: str) -> str:
    """What a value is called: `%gated.1` is gated_1, `$AxonCore.hc1` is hc1."""
    return re.sub(r"\W", "_", name.rpartition(".")[2] if name.startswith("$") else name[1:])

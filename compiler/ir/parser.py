"""Text -> graph, the inverse of ``printer.py``. One line is one statement, so a line number is a good error."""

from __future__ import annotations

import json
import re

from .graph import Attr, Graph, Init, Node, Param, State, Value
from .types import parse_type

_ATTRS = r'(?: \{(?P<attrs>(?:"(?:[^"\\]|\\.)*"|[^"{}])*)\})?'
_NODE = re.compile(r"^(?P<outs>.+?) = (?P<op>\w+)\((?P<args>[^)]*)\)" + _ATTRS + r"(?:  # (?P<where>.*))?$")
_DECL = re.compile(r"^(?P<kind>param|buffer|adapter|state) (?P<name>\S+) : (?P<type>\S+) = (?P<init>.+)$")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\],=]|[^\s\[\],=]+')


def parse_graph(text: str) -> Graph:
    """Read one printed graph. Raises ``ValueError`` naming the line that is not understood."""
    name, output = "", ""
    inputs: list[Value] = []
    params: list[Param] = []
    states: list[State] = []
    nodes: list[Node] = []
    following: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line:
            continue
        try:
            head, _, rest = line.partition(" ")
            if head == "graph":
                name = rest
            elif head == "in":
                inputs.append(_value(rest))
            elif head == "out":
                output = rest
            elif head == "next":
                following.append(rest.partition(" = ")[2])
            elif decl := _DECL.match(line):
                kind, path, type_ = decl["kind"], decl["name"][1:], parse_type(decl["type"])
                if kind == "state":
                    states.append(State(tuple(path.split(".")), type_, _number(decl["init"])))
                else:
                    params.append(Param(path, type_, _init(decl["init"]), kind != "buffer", kind == "adapter"))
            elif node := _NODE.match(line):
                nodes.append(
                    Node(
                        node["op"],
                        tuple(a for a in node["args"].split(", ") if a),
                        tuple(_value(v) for v in re.split(r", (?=%)", node["outs"])),
                        _attrs(node["attrs"] or ""),
                        node["where"] or "",
                    )
                )
            else:
                raise ValueError("not understood")
        except (ValueError, LookupError) as problem:
            raise ValueError(f"line {number} of the graph is no statement: {line!r} ({problem})") from problem
    return Graph(name, tuple(inputs), tuple(params), tuple(states), tuple(nodes), output, tuple(following))


def _value(text: str) -> Value:
    name, _, type_ = text.partition(" : ")
    return Value(name, parse_type(type_))


def _init(text: str) -> Init:
    rule, _, args = text.rstrip(")").partition("(")
    return Init(rule, tuple(float(a) for a in args.split(", ") if a))


def _attrs(text: str) -> tuple[tuple[str, Attr], ...]:
    tokens = _TOKEN.findall(text)
    found: list[tuple[str, Attr]] = []
    i = 0
    while i < len(tokens):
        key, value, i = tokens[i], *_attr(tokens, i + 2)
        found.append((key, value))
        i += 1  # the comma
    return tuple(found)


def _attr(tokens: list[str], i: int) -> tuple[Attr, int]:
    """The attribute that starts at token ``i``, and the index after it."""
    token = tokens[i]
    if token == "[":
        items: list[Attr] = []
        i += 1
        while tokens[i] != "]":
            item, i = _attr(tokens, i)
            items.append(item)
            i += tokens[i] == ","
        return tuple(items), i + 1
    if token.startswith('"'):
        return json.loads(token), i + 1
    words: dict[str, Attr] = {"true": True, "false": False, "none": None}
    if token in words:
        return words[token], i + 1
    return _number(token), i + 1


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)

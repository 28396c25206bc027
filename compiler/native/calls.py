"""The call in C++ of each op: from a node and the places of its operands and results to statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..ir import Node
from ..ir.types import B, Type
from ..library.recurrences import EQUATIONS
from ..recurrence.printer import number_text
from ..regions import FUSIBLE, make_region
from .heads import emit_heads
from .places import NotInCpp, Place
from .pointwise import Operand, Role, emit_pointwise, emit_step

LONGEST_WINDOW = 1 << 15  # weights of one row that a thread keeps on its stack
MOST_EXPERTS = 64  # EXPERTS in kernels/mixing/step.h


class Layer(Protocol):
    """What a call may ask of the layer that it is part of."""

    def of(self, name: str) -> Place:
        """Where a value lies."""

    def maybe(self, name: str) -> Place | None:
        """The same, None for an absent operand."""

    def context(self, name: str) -> Place:
        """A memory with the input of this step behind it."""

    def out(self, node: Node, index: int = 0) -> Place:
        """Where a result goes: to its place in what is given out, else to scratch. Declares it."""

    def work(self, width: int, *, shared: bool = False) -> str:
        """Memory that this node alone uses, for so many numbers a row, or in all."""

    def declare(self, wanted: str, rows: str) -> str:
        """A name for rows, from an expression of them."""

    def function(self, name: str, text: Callable[[str], str]) -> str:
        """A function of its own beside that of the layer, which has this text once it was asked for."""


Call = Callable[[Layer, Node], list[str]]


def need(condition: bool, what: str) -> None:
    if not condition:
        raise NotInCpp(what)


def call(layer: Layer, node: Node) -> list[str]:
    """The statements of a node. Raises NotInCpp."""
    emit = CALLS.get(node.op)
    if emit is None:
        raise NotInCpp(node.op)
    return emit(layer, node)


# -- products --------------------------------------------------------------------------------------------------------


def _rows_of(x: Place) -> tuple[str, str]:
    """x as a matrix over its last axis: how many rows, and the rows."""
    width = x.type.width
    if x.width == width and not x.shared:
        return "c.rows", x.text
    need(x.dense, "a product over a part of a row")
    count = x.width // width
    return (str(count) if x.shared else f"c.rows * {count}"), f"{{{x.at}, {width}}}"


def _linear(layer: Layer, node: Node) -> list[str]:
    x, w = layer.of(node.inputs[0]), layer.of(node.inputs[1])
    bias = layer.maybe(node.inputs[2]) if len(node.inputs) > 2 else None
    need(w.shared and len(w.type.shape) == 2, "a weight of each row")
    y = layer.out(node)
    rows, read = _rows_of(x)
    _, written = _rows_of(y)
    given = f"{rows}, {read}, {x.type.width}, {w.at}, {bias.at if bias else 'nullptr'}, {y.type.width}, {written}"
    return [f"cx::linear({given});"]


def _linear_t(layer: Layer, node: Node) -> list[str]:
    x, w = map(layer.of, node.inputs)
    need(w.shared, "a weight of each row")
    y = layer.out(node)
    rows, read = _rows_of(x)
    _, written = _rows_of(y)
    return [f"cx::product_t({rows}, {read}, {x.type.width}, {w.at}, {y.type.width}, {y.type.width}, {written});"]


def _linear_vector(layer: Layer, node: Node) -> list[str]:
    w, x = map(layer.of, node.inputs)
    need(w.shared and x.shared, "a vector of each row")
    experts, width = (int(d) for d in w.type.shape)
    return [f"cx::matrix_vector({w.at}, {x.at}, {experts}, {width}, {layer.out(node).at});"]


def _head_linear(layer: Layer, node: Node) -> list[str]:
    x, *weights = map(layer.of, node.inputs)
    need(not x.shared and all(w.shared and len(w.type.shape) == 3 for w in weights), "maps of each row")
    y = layer.out(node)
    heads, width = int(weights[0].type.shape[0]), weights[0].type.width
    return [
        f"cx::by_head(c.rows, {x.text}, {heads}, {width}, {w.at}, {width * width}, {y.piece(g * x.width)});"
        for g, w in enumerate(weights)
    ]


def _srht(layer: Layer, node: Node) -> list[str]:
    x, order, signs = map(layer.of, node.inputs)
    need(not x.shared, "a rotation of parameters")
    width = x.type.width
    rows, read = _rows_of(x)
    y = layer.out(node)
    _, written = _rows_of(y)
    return [f"cx::srht(c, {rows}, {read}, {width}, {order.text}, {signs.at}, {written});"]


# -- rows ------------------------------------------------------------------------------------------------------------


def _layer_norm(layer: Layer, node: Node) -> list[str]:
    x, *rest = (layer.of(i) for i in node.inputs)
    need(not x.shared and len(x.type.shape) == 2, "a norm over a part of a row")
    weight, bias = (rest[i].at if i < len(rest) else "nullptr" for i in range(2))
    return [f"cx::layer_norm(c, {x.text}, 1, {x.width}, {weight}, {bias}, {layer.out(node).text});"]


def _rms_norm(layer: Layer, node: Node) -> list[str]:
    x, weight = map(layer.of, node.inputs)
    need(not x.shared and len(x.type.shape) == 2, "a norm over a part of a row")
    return [f"cx::rms_norm(c, {x.text}, {x.width}, {weight.at}, {layer.out(node).text});"]


def _head_norm(layer: Layer, node: Node) -> list[str]:
    x, weight = map(layer.of, node.inputs)
    heads = _number(node, "heads")
    need(not x.shared, "a norm of parameters")
    return [f"cx::layer_norm(c, {x.text}, {heads}, {x.width // heads}, {weight.at}, nullptr, {layer.out(node).text});"]


def _center(layer: Layer, node: Node) -> list[str]:
    x = layer.of(node.inputs[0])
    y = layer.out(node)
    rows, read = _rows_of(x)
    _, written = _rows_of(y)
    return [f"cx::center({rows}, {read}, {x.type.width}, {written});"]


def _gelu(layer: Layer, node: Node) -> list[str]:
    x = layer.of(node.inputs[0])
    need(not x.shared, "gelu of parameters")
    return [f"cx::gelu_rows(c, {x.text}, {x.width}, {layer.out(node).text});"]


def _joined(layer: Layer, node: Node) -> list[str]:
    """cat and stack: rows beside each other."""
    pieces = [layer.of(i) for i in node.inputs]
    axis = node.attr("axis", -1)
    rank = len(pieces[0].type.shape)
    need(not any(p.shared for p in pieces), "joined parameters")
    need(node.op == "stack" or rank == (2 if axis == -1 else 3), "joined parts of rows")
    y, offset, lines = layer.out(node), 0, []
    for p in pieces:
        lines.append(f"cx::copy_rows(c, {p.text}, {p.width}, {y.piece(offset)});")
        offset += p.width
    return lines


# -- number by number ------------------------------------------------------------------------------------------------


def _role(operand: Type, out: Type) -> Role:
    if operand.shape == out.shape:
        return "full"
    if operand.shape == ():
        return "scalar"
    need(out.shape == (B, *operand.shape), "broadcasting")
    return "row"


def _pointwise(layer: Layer, node: Node) -> list[str]:
    """One op is a region of one."""
    args = tuple(f"a{i}" for i in range(len(node.inputs)))
    scalar = (node.attr("c"),) if node.op.endswith("_scalar") else ()
    return _region(layer, node, ((node.op, *args, *scalar),), ("t0",))


def _fused(layer: Layer, node: Node) -> list[str]:
    return _region(layer, node, node.attr("body"), node.attr("results"))


def _region(layer: Layer, node: Node, body: object, results: object) -> list[str]:
    assert isinstance(body, tuple) and isinstance(results, tuple)
    operands = [layer.of(i) for i in node.inputs]
    roles = tuple(_role(p.type, node.outputs[0].type) for p in operands)
    region = make_region(body, results, roles)
    read = [Operand(a, role) for a, role in zip(region.operands, roles, strict=True)]
    name = layer.function(region.name, lambda name: emit_pointwise(name, read, region.results, {}))
    outs = [layer.out(node, i) for i in range(len(node.outputs))]
    given = [p.text if role == "full" else p.at for p, role in zip(operands, roles, strict=True)]
    return [f"{name}(c, {outs[0].rows}, {outs[0].width}, {', '.join([*given, *(o.text for o in outs)])});"]


# -- through time ----------------------------------------------------------------------------------------------------


def _recurrence(layer: Layer, node: Node) -> list[str]:
    name = str(node.attr("name"))
    rec = EQUATIONS[name]
    need(not rec.headed and node.attr("impl") == "auto", f"recurrence {name}")
    params, states, traces = (_number(node, key) for key in ("params", "states", "traces"))
    x = layer.of(node.inputs[0])
    weight = layer.maybe(node.inputs[1 + params])
    carried = [layer.of(i) for i in node.inputs[2 + params : 2 + params + states + traces]]
    width, gates = carried[0].width, len(rec.gates)
    need(x.width == width * len(rec.inputs), f"inputs of {name}")
    given, lines = [x.piece(i * width) for i in range(len(rec.inputs))], []
    if gates:
        assert rec.recurrent is not None
        need(weight is not None and weight.shared and len(weight.type.shape) == 4, f"weights of {name}")
        assert weight is not None
        heads, head_width = int(weight.type.shape[0]), weight.type.width
        at = rec.state.index(rec.recurrent)
        to = layer.declare("recurrent", f"{{{layer.work(gates * width)}, {gates * width}}}")
        sizes = f"{heads}, {gates}, {head_width}, {weight.at}, {layer.work(width)}"
        start = number_text(rec.initial[at], "cpp")
        lines.append(f"cx::recurrent_product(c, {carried[at].text}, {start}, {sizes}, {to});")
        given += [f"{{{to}.at + {i * width}, {to}.step}}" for i in range(gates)]
    given += [p.text for p in carried] + [layer.of(i).at for i in node.inputs[1 : 1 + params]]
    function = layer.function(
        f"step_{name}{'_traced' if traces else ''}", lambda name: emit_step(name, rec, bool(traces))
    )
    given += [layer.out(node, i).text for i in range(len(node.outputs))]
    return [*lines, f"{function}(c, c.rows, {width}, {', '.join(given)});"]


def _causal_conv(layer: Layer, node: Node) -> list[str]:
    x, buffer, weight = (layer.of(i) for i in node.inputs[:3])
    bias = layer.maybe(node.inputs[3])
    taps = weight.type.width
    need(weight.shared and len(weight.type.shape) == 3 and int(weight.type.shape[1]) == 1 and taps > 0, "conv")
    y, kept = layer.out(node), layer.out(node, 1)
    given = f"{x.text}, {buffer.text}, {taps}, {x.width}, {weight.at}, {bias.at if bias else 'nullptr'}"
    return [f"cx::causal_conv_step(c, {given}, {y.text}, {kept.text});"]


def _mlstm(layer: Layer, node: Node) -> list[str]:
    operands = [layer.of(i) for i in node.inputs[:8]]
    heads, width = (int(d) for d in operands[0].type.shape[-2:])
    outs = [layer.out(node, i) for i in range(4)]
    given = ", ".join(p.text for p in operands)
    return [f"cx::mlstm_step(c, {given}, {heads}, {width}, {', '.join(o.text for o in outs)});"]


def _xl(layer: Layer, node: Node) -> list[str]:
    need(len(node.inputs) == 13, "attention with dropout")
    x, q, mem, fill, wk, _, wv, bv, wr, positions, u, v = (layer.maybe(i) for i in node.inputs[:12])
    assert x and q and mem and fill and wk and wv and wr and positions and u and v
    need(all(p.shared and len(p.type.shape) == 2 for p in (wk, wv, wr)), "maps of each row")
    heads, width = (int(d) for d in q.type.shape[-2:])
    slots, inputs = (int(d) for d in mem.type.shape[-2:])
    need(slots > 0 and heads * (slots + 1) <= LONGEST_WINDOW, "a window of this length")
    # rows of: q + u, what asks the memory, what is seen, scores by distance; and the projected distances
    own, shared = heads * (width + 2 * inputs + slots + 1), (slots + 1) * heads * width
    work, table = layer.work(own), layer.work(shared, shared=True)
    y = layer.out(node)
    places = f"{x.text}, {q.text}, {mem.text}, {fill.text}, {wk.at}, {wv.at}, {bv.at if bv else 'nullptr'}, {wr.at}"
    sizes = f"{heads}, {width}, {slots}, {inputs}"
    return [f"cx::xl_step(c, {places}, {positions.at}, {u.at}, {v.at}, {sizes}, {work}, {table}, {y.text});"]


def _xl_attention(layer: Layer, node: Node) -> list[str]:
    need(len(node.inputs) == 8, "attention with dropout")
    keys, values = (layer.context(i) for i in node.inputs[1:3])
    q, rel, u, v, fill = (layer.of(node.inputs[i]) for i in (0, 3, 4, 5, 6))
    need(bool(keys.own and values.own) and rel.shared and rel.dense, "attention of this kind")
    heads, width = (int(d) for d in q.type.shape[-2:])
    slots = int(keys.type.shape[1]) - 1
    need(slots > 0 and heads * (slots + 1) <= LONGEST_WINDOW, "a window of this length")
    given = f"{q.text}, {keys.text}, {keys.own}, {values.text}, {values.own}, {rel.at}, {u.at}, {v.at}, {fill.text}"
    return [f"cx::xl_attention_step(c, {given}, {heads}, {width}, {slots}, {layer.out(node).text});"]


def _xl_memory(layer: Layer, node: Node) -> list[str]:
    x, mem, fill = (layer.of(i) for i in node.inputs[:3])
    slots, inputs = (int(d) for d in mem.type.shape[-2:])
    need(slots > 0, "a memory without slots")
    after, length = layer.out(node), layer.out(node, 1)
    given = f"{x.text}, {mem.text}, {fill.text}, {slots}, {inputs}"
    return [f"cx::xl_memory_step(c, {given}, {after.text}, {length.text});"]


def _agalite(layer: Layer, node: Node) -> list[str]:
    need(node.attr("impl") == "auto", "agalite")
    rec = EQUATIONS[str(node.attr("name"))]
    x, features, keys, values, s, tick = (layer.of(i) for i in node.inputs[:6])
    terms, heads = (int(d) for d in keys.type.shape[1:3])
    width, size, half = x.type.width, features.type.width, (terms + 1) // 2
    y, *after, next_tick = (layer.out(node, i) for i in range(5))
    waves = layer.declare("waves", f"{{{layer.work(half)}, {half}}}")
    function = layer.function(f"step_{rec.name}", lambda name: emit_heads(name, rec))

    def of_terms(place: Place, numbers: int) -> list[str]:
        """The terms that differ, each with its mirror."""
        at = [f"{place.at} + {i * heads * numbers}" for i in range(terms)]
        return [f"Terms{{{at[i]}, {at[terms - 1 - i]}, {place.text}.step}}" for i in range(half)]

    states = [
        [*of_terms(k, size * width), *of_terms(v, width), f"Terms{{{t.at}, {t.at}, {t.text}.step}}"]
        for k, v, t in ((keys, values, s), after)
    ]
    given = ", ".join([x.text, features.text, waves, *states[0], y.text, *states[1]])
    return [
        f"cx::agalite_waves(c, {tick.text}, {terms}, {waves}, {next_tick.text});",
        f"{function}(c, {heads}, {size}, {width}, {given});",
    ]


# -- experts ---------------------------------------------------------------------------------------------------------


def _prior(layer: Layer, node: Node) -> list[str]:
    scores = layer.of(node.inputs[0])
    need(scores.shared and scores.width <= MOST_EXPERTS, "a prior of each row")
    kept = node.attr("top_k")
    return [f"cx::prior({scores.at}, {scores.width}, {kept or 0}, {layer.out(node).at});"]


def _column_mix(layer: Layer, node: Node) -> list[str]:
    x, u, query, offset, logits, *outputs = (layer.of(i) for i in node.inputs)
    experts, width, scale = len(outputs), x.width, node.attr("scale")
    assert isinstance(scale, float)
    need(offset.shared and experts <= MOST_EXPERTS and len(x.type.shape) == 2, "this mixer")
    work = layer.work(experts * width)
    main, mixed = layer.out(node), layer.out(node, 1)
    given = f"{x.text}, {u.text}, {query.text}, {offset.at}, {logits.text}"
    texts = ", ".join(p.text for p in outputs)
    sizes = f"{experts}, {width}, {number_text(scale, 'cpp')}, {work}"
    return [
        "{",
        f"    const Rows experts[] = {{{texts}}};",
        f"    cx::column_mix(c, {given}, experts, {sizes}, {main.text}, {mixed.text});",
        "}",
    ]


def _number(node: Node, key: str) -> int:
    value = node.attr(key)
    assert isinstance(value, int)
    return value


CALLS: dict[str, Call] = {
    "linear": _linear,
    "linear_t": _linear_t,
    "linear_vector": _linear_vector,
    "head_linear": _head_linear,
    "srht": _srht,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "head_norm": _head_norm,
    "center": _center,
    "gelu": _gelu,
    "cat": _joined,
    "stack": _joined,
    "fused": _fused,
    **dict.fromkeys(FUSIBLE, _pointwise),
    "recurrence": _recurrence,
    "agalite": _agalite,
    "causal_conv": _causal_conv,
    "mlstm": _mlstm,
    "xl": _xl,
    "xl_attention": _xl_attention,
    "xl_memory": _xl_memory,
    "prior": _prior,
    "column_mix": _column_mix,
}

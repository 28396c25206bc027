"""The step of a recurrence whose channels belong to heads, as one function in C++: a head of a row after the other.

What belongs to channels or to a feature alone is computed once; then features times channels pass through, where totals
are summed up; then what a channel has of its own, and what reads totals.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..recurrence.axes import Axes, axes_of, leaf_axes
from ..recurrence.expr import Expr, leaf, leaves, substitute, walk
from ..recurrence.frontend import Recurrence
from ..recurrence.printer import Block, leaf_text, number_text
from .lines import at_depth, signature
from .places import NotInCpp
from .pointwise import SIMD
from .words import WORDS


def emit_heads(name: str, rec: Recurrence) -> str:
    """``void name(c, N, E, D, channels, features, data, states…, outputs, after…)``.

    channels [rows, N, G, D] and features [rows, N, G, E] hold the inputs with one number a channel and a feature, data
    [rows, G] those with one a row. A state is `Terms` of [E, D] or [D] for every head, and so is what comes after it;
    outputs are [rows, N, D] each."""
    known = leaf_axes(rec)
    made = dict(zip(rec.state, rec.update, strict=True)) | dict(rec.readouts)
    wide = [n for n, axes in zip(rec.state, rec.state_axes, strict=True) if axes == "ed"]
    thin = [n for n in rec.state if n not in wide]
    summands = [e for _, e in rec.totals]
    if rec.gates or rec.params or any(a != "ed" for a in axes_of(summands, known)):
        raise NotInCpp(f"the recurrence {rec.name}")
    words = set(WORDS) | {leaf_text(e) for e in known}

    inner = [*(made[n] for n in wide), *summands]
    channels, inner = _hold(inner, known, "d", "channel")
    features, inner = _hold(inner, known, "e", "feature")
    held = {e: f"{leaf_text(e)}_at" for e in channels}
    last = [*(made[n] for n in thin), *(made[n] for n in rec.outputs)]
    blocks = [Block("cpp", rec.names, words) for _ in range(4)]
    of_channels, of_features = blocks[0].add(list(channels.values())), blocks[1].add(list(features.values()))
    of_pairs, of_last = blocks[2].add(inner), blocks[3].add(last)
    totals = [f"z_{n}" for n, _ in rec.totals]

    def loads(roots: Iterable[Expr], kinds: Iterable[Axes]) -> list[str]:
        read = leaves(roots)
        return [line for e, line in _loads(rec).items() if e in read and known[e] in kinds]

    given = ["integer N", "integer E", "integer D", "Rows channels", "Rows features", "Rows data"]
    given += [f"Terms s_{n}_in" for n in rec.state] + [f"Rows y_{n}" for n in rec.outputs]
    lines = [
        *signature(name, [*given, *(f"Terms {n}_after" for n in rec.state)]),
        "    in_pieces(c, c.rows * N, E * D, [&](integer first, integer stop) {",
        "        for (integer at = first; at < stop; ++at) {",
        "            const integer b = at / N, n = at % N;",
        "            const int carried = c.carried(b);",
        *at_depth(3, _begins(rec)),
        *at_depth(3, loads([*channels.values(), *features.values(), *inner, *last], ("",))),
        *at_depth(3, [f"float {', '.join(f'{t} = 0.0f' for t in totals)};"] if totals else []),
        *at_depth(3, [f"float {', '.join(f'{t}[D]' for t in held.values())};"] if held else []),
        SIMD,
        "            for (integer j = 0; j < D; ++j) {",
        *at_depth(4, [*loads(channels.values(), ("d",)), *blocks[0].text]),
        *at_depth(4, [f"{t}[j] = {text};" for t, text in zip(held.values(), of_channels, strict=True)]),
        "            }",
        "            for (integer i = 0; i < E; ++i) {",
        *at_depth(4, [*loads([*features.values(), *inner], ("e",)), *blocks[1].text]),
        *at_depth(4, [f"const float {leaf_text(e)} = {t};" for e, t in zip(features, of_features, strict=True)]),
        SIMD + (f" reduction(+ : {', '.join(totals)})" if totals else ""),
        "                for (integer j = 0; j < D; ++j) {",
        *at_depth(5, [f"const float {leaf_text(e)} = {t}[j];" for e, t in held.items()]),
        *at_depth(5, [*loads(inner, ("d", "ed")), *blocks[2].text]),
        *at_depth(5, [f"{n}_after.put(b, n, i * D + j, E * D, {t});" for n, t in zip(wide, of_pairs, strict=False)]),
        *at_depth(5, [f"{z} += {t};" for z, t in zip(totals, of_pairs[len(wide) :], strict=True)]),
        "                }",
        "            }",
        SIMD,
        "            for (integer j = 0; j < D; ++j) {",
        *at_depth(4, [*loads(last, ("d",)), *blocks[3].text]),
        *at_depth(4, [f"{n}_after.put(b, n, j, D, {t});" for n, t in zip(thin, of_last, strict=False)]),
        *at_depth(4, [f"y_{n}_row[j] = {t};" for n, t in zip(rec.outputs, of_last[len(thin) :], strict=True)]),
        "            }",
        "        }",
        "    });",
        "}",
    ]
    return "\n".join(lines)


def _hold(roots: list[Expr], known: dict[Expr, Axes], axes: Axes, word: str) -> tuple[dict[Expr, Expr], list[Expr]]:
    """The largest parts of the roots that have these axes and are computed, by the leaf that stands for each; and the
    roots with the leaves in place."""
    whole: dict[Expr, Axes] = dict(zip(walk(roots), axes_of(walk(roots), known), strict=True))
    parts: dict[Expr, None] = {}
    for node in walk(roots):
        if whole[node] != axes:
            parts |= {a: None for a in node.args if a.args and whole[a] == axes}
    stand = {leaf("h", f"{word}{i}"): e for i, e in enumerate(parts)}
    known |= dict.fromkeys(stand, axes)
    return stand, list(substitute(roots, {e: h for h, e in stand.items()}))


def _begins(rec: Recurrence) -> list[str]:
    """Where the inputs and outputs of a head begin."""
    lines = []
    for axes, source, size in (("d", "channels", "D"), ("e", "features", "E")):
        names = [n for n, a in zip(rec.inputs, rec.input_axes, strict=True) if a == axes]
        for place, n in enumerate(names):
            at = f"{source}.at + b * {source}.step + (n * {len(names)} + {place}) * {size}"
            lines.append(f"const float* __restrict x_{n}_row = {at};")
    lines += [f"float* __restrict y_{n}_row = y_{n}.at + b * y_{n}.step + n * D;" for n in rec.outputs]
    return lines


def _loads(rec: Recurrence) -> dict[Expr, str]:
    """How each leaf is read: j counts channels, i features."""
    found: dict[Expr, str] = {}
    data = [n for n, a in zip(rec.inputs, rec.input_axes, strict=True) if not a]
    for n, axes in zip(rec.inputs, rec.input_axes, strict=True):
        at = {"d": f"x_{n}_row[j]", "e": f"x_{n}_row[i]"}.get(axes) or f"data.at[b * data.step + {data.index(n)}]"
        found[leaf("x", n)] = f"const float x_{n} = {at};"
    for n, axes, start in zip(rec.state, rec.state_axes, rec.initial, strict=True):
        place = "i * D + j, E * D" if axes == "ed" else "j, D"
        value = f"f32::choose(carried, s_{n}_in.get(b, n, {place}), {number_text(start, 'cpp')})"
        found[leaf("s", n)] = f"const float s_{n} = {value};"
    return found
